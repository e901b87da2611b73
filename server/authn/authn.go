// Package authn says who is calling.
package authn
