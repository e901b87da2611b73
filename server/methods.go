package server

import (
	"github.com/p8signet/signet/server/policy"
)

// access is who may call a method.
type access int

const (
	_ access = iota
	// public: anybody who can connect; nobody is authenticated.
	public
	// authenticated: every caller with a good certificate.
	authenticated
	// permitted: an authenticated caller whom the policy allows the row's action. The core decides and records that.
	permitted
)

// rule is a row of the method table.
type rule struct {
	access access
	action policy.Action
}

// methods is the method table: every method that this server registers, and no other. A method without a row answers
// Internal before its request is read, so that a new one is closed until somebody has decided who may call it.
var methods = map[string]rule{
	"/signet.v1.TokenService/MintToken": {permitted, policy.TokenMint},
	// What a caller may mint it may know: it learns nothing that minting would not tell it, and nothing of others' grants. It is
	// not recorded, for the log says what was done, and who asks what it may do every minute would bury that.
	"/signet.v1.TokenService/ListProfiles": {access: authenticated},

	"/signet.v1.KeyService/GetRecipient":    {permitted, policy.KeyImport},
	"/signet.v1.KeyService/ImportKey":       {permitted, policy.KeyImport},
	"/signet.v1.KeyService/ListKeys":        {permitted, policy.KeyRead},
	"/signet.v1.KeyService/GetKey":          {permitted, policy.KeyRead},
	"/signet.v1.KeyService/ActivateVersion": {permitted, policy.KeyActivate},
	"/signet.v1.KeyService/DisableKey":      {permitted, policy.KeyDisable},
	"/signet.v1.KeyService/EnableKey":       {permitted, policy.KeyEnable},
	"/signet.v1.KeyService/RevokeKey":       {permitted, policy.KeyRevoke},

	"/signet.v1.PolicyService/GetPolicy":     {permitted, policy.PolicyRead},
	"/signet.v1.PolicyService/ApplyPolicy":   {permitted, policy.PolicyApply},
	"/signet.v1.PolicyService/ListRevisions": {permitted, policy.PolicyRead},

	"/signet.v1.AuditService/ListEntries":  {permitted, policy.AuditRead},
	"/signet.v1.AuditService/WatchEntries": {permitted, policy.AuditRead},
	"/signet.v1.AuditService/TraceToken":   {permitted, policy.AuditRead},
	"/signet.v1.AuditService/GetUsage":     {permitted, policy.AuditRead},
	// What a caller remembers of the log it may have proved: it learns nothing of what others did.
	"/signet.v1.AuditService/GetCheckpoint":    {access: authenticated},
	"/signet.v1.AuditService/ProveInclusion":   {access: authenticated},
	"/signet.v1.AuditService/ProveConsistency": {access: authenticated},

	"/signet.v1.SystemService/GetStatus":        {permitted, policy.SystemRead},
	"/signet.v1.SystemService/IssueCertificate": {permitted, policy.SystemIssue},
	"/signet.v1.SystemService/Acknowledge":      {permitted, policy.SystemAcknowledge},

	// Load balancers and supervisors have no certificate, and leave no entries.
	"/grpc.health.v1.Health/Check": {access: public},
	"/grpc.health.v1.Health/List":  {access: public},
	"/grpc.health.v1.Health/Watch": {access: public},
}
