// Package audit writes and reads the audit log: what [auditlog] describes, on a disk.
package audit
