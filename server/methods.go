package server

import (
	"time"

	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
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
	// bare answers do not name their request when they succeed; what they bring does, by its hash in the log. On every
	// mint the header was a twentieth of the rate.
	bare bool
	// waits is of a change, which returns when every replica has it: its deadline is waitDeadline.
	waits bool
}

// waitDeadline is for calls that may have to wait out the greatest bound of a replica.
const waitDeadline = store.MaxBound + time.Minute

// methods is the method table: every method that this server registers, and no other. A method without a row answers
// Internal before its request is read, so that a new one is closed until somebody has decided who may call it.
var methods = map[string]rule{
	"/signet.v1.TokenService/MintToken": {access: permitted, action: policy.TokenMint, bare: true},
	// What a caller may mint it may know: it learns nothing that minting would not tell it, and nothing of others' grants. It is
	// not recorded, for the log says what was done, and who asks what it may do every minute would bury that.
	"/signet.v1.TokenService/ListProfiles": {access: authenticated},

	"/signet.v1.KeyService/GetRecipient":    {access: permitted, action: policy.KeyImport},
	"/signet.v1.KeyService/ImportKey":       {access: permitted, action: policy.KeyImport},
	"/signet.v1.KeyService/ListKeys":        {access: permitted, action: policy.KeyRead},
	"/signet.v1.KeyService/GetKey":          {access: permitted, action: policy.KeyRead},
	"/signet.v1.KeyService/GetPublicKey":    {access: permitted, action: policy.KeyRead},
	"/signet.v1.KeyService/GenerateKey":     {access: permitted, action: policy.KeyImport},
	"/signet.v1.KeyService/UpdateKey":       {access: permitted, action: policy.KeyUpdate, waits: true},
	"/signet.v1.KeyService/ActivateVersion": {access: permitted, action: policy.KeyActivate, waits: true},
	"/signet.v1.KeyService/DisableKey":      {access: permitted, action: policy.KeyDisable, waits: true},
	"/signet.v1.KeyService/EnableKey":       {access: permitted, action: policy.KeyEnable, waits: true},
	"/signet.v1.KeyService/RevokeKey":       {access: permitted, action: policy.KeyRevoke, waits: true},

	"/signet.v1.PolicyService/GetPolicy":     {access: permitted, action: policy.PolicyRead},
	"/signet.v1.PolicyService/ApplyPolicy":   {access: permitted, action: policy.PolicyApply, waits: true},
	"/signet.v1.PolicyService/ListRevisions": {access: permitted, action: policy.PolicyRead},

	"/signet.v1.AuditService/ListEntries":  {access: permitted, action: policy.AuditRead},
	"/signet.v1.AuditService/WatchEntries": {access: permitted, action: policy.AuditRead},
	"/signet.v1.AuditService/TraceToken":   {access: permitted, action: policy.AuditRead},
	"/signet.v1.AuditService/GetUsage":     {access: permitted, action: policy.AuditRead},
	// What a caller remembers of the log it may have proved: it learns nothing of what others did.
	"/signet.v1.AuditService/GetCheckpoint":    {access: authenticated},
	"/signet.v1.AuditService/ProveInclusion":   {access: authenticated},
	"/signet.v1.AuditService/ProveConsistency": {access: authenticated},

	"/signet.v1.SystemService/GetStatus":        {access: permitted, action: policy.SystemRead},
	"/signet.v1.SystemService/IssueCertificate": {access: permitted, action: policy.SystemIssue},
	"/signet.v1.SystemService/Rewrap":           {access: permitted, action: policy.SystemRewrap, waits: true},
	"/signet.v1.SystemService/ListMembers":      {access: permitted, action: policy.SystemRead},
	"/signet.v1.SystemService/ForgetMember":     {access: permitted, action: policy.SystemMembers, waits: true},
	"/signet.v1.SystemService/Acknowledge":      {access: permitted, action: policy.SystemAcknowledge, waits: true},

	// Load balancers and supervisors have no certificate, and leave no entries.
	"/grpc.health.v1.Health/Check": {access: public},
	"/grpc.health.v1.Health/List":  {access: public},
	"/grpc.health.v1.Health/Watch": {access: public},
}
