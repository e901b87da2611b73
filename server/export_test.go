package server

import "github.com/p8signet/signet/server/policy"

// ActionOf is the action of a method's row; empty when nobody decides it.
func ActionOf(method string) policy.Action { return methods[method].action }
