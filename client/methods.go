package client

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// kind is what a method does, and with that how it is called.
type kind int

const (
	// changes: it changes something, as every method does that has no row here. It is sent to another address only where nothing has
	// come of it, and may wait for replicas.
	changes kind = iota
	// reads: it changes nothing, and is sent again while the server is unavailable.
	reads
	// mints: it gives a token.
	mints
	// watches: it goes on until it is ended.
	watches
)

// callTime and changeTime are what a call gets whose caller has set no shorter deadline, whatever number of addresses it is sent to.
// A change waits until every replica has it or has lost its right to mint, which takes one that is cut off five minutes at most.
const (
	callTime   = 30 * time.Second
	changeTime = 6 * time.Minute
)

// kindOf are the methods of the API. GetRecipient reads: a recipient that it makes is the same for the next one who asks.
var kindOf = map[string]kind{
	signetv1.TokenService_MintToken_FullMethodName:         mints,
	signetv1.TokenService_ListProfiles_FullMethodName:      reads,
	signetv1.KeyService_GetRecipient_FullMethodName:        reads,
	signetv1.KeyService_ImportKey_FullMethodName:           changes,
	signetv1.KeyService_ListKeys_FullMethodName:            reads,
	signetv1.KeyService_GetKey_FullMethodName:              reads,
	signetv1.KeyService_GetPublicKey_FullMethodName:        reads,
	signetv1.KeyService_GenerateKey_FullMethodName:         changes,
	signetv1.KeyService_UpdateKey_FullMethodName:           changes,
	signetv1.KeyService_ActivateVersion_FullMethodName:     changes,
	signetv1.KeyService_DisableKey_FullMethodName:          changes,
	signetv1.KeyService_EnableKey_FullMethodName:           changes,
	signetv1.KeyService_RevokeKey_FullMethodName:           changes,
	signetv1.PolicyService_GetPolicy_FullMethodName:        reads,
	signetv1.PolicyService_ApplyPolicy_FullMethodName:      changes,
	signetv1.PolicyService_ListRevisions_FullMethodName:    reads,
	signetv1.AuditService_ListEntries_FullMethodName:       reads,
	signetv1.AuditService_WatchEntries_FullMethodName:      watches,
	signetv1.AuditService_TraceToken_FullMethodName:        reads,
	signetv1.AuditService_GetUsage_FullMethodName:          reads,
	signetv1.AuditService_GetCheckpoint_FullMethodName:     reads,
	signetv1.AuditService_ProveInclusion_FullMethodName:    reads,
	signetv1.AuditService_ProveConsistency_FullMethodName:  reads,
	signetv1.SystemService_GetStatus_FullMethodName:        reads,
	signetv1.SystemService_ListMembers_FullMethodName:      reads,
	signetv1.SystemService_IssueCertificate_FullMethodName: changes,
	signetv1.SystemService_Acknowledge_FullMethodName:      changes,
	signetv1.SystemService_ForgetMember_FullMethodName:     changes,
	signetv1.SystemService_Rewrap_FullMethodName:           changes,
}

// searches are reads that may take long, for they go through a log. That of another server is another one.
var searches = map[string]bool{
	signetv1.AuditService_ListEntries_FullMethodName: true,
	signetv1.AuditService_TraceToken_FullMethodName:  true,
	signetv1.AuditService_GetUsage_FullMethodName:    true,
}

// serviceConfig says how grpc makes calls: to whom (balance.go, by what the servers say of themselves), with which deadline unless the
// caller's is shorter, and which are tried again. Those that only read are, when the server is unavailable. What changes something is
// not, and mints are of these: UNAVAILABLE may come from a server that has minted, recorded and counted the token and then lost the
// connection, and a second attempt would be a second token; failover.go says when they go to another address. A watch goes on until it
// is ended. grpc itself sends a call again only where the server provably did not see it: when it could not be written to a connection,
// or the server refused the stream or was going away before it.
var serviceConfig = fmt.Sprintf(`{
"loadBalancingConfig": [{%q: {}}],
"healthCheckConfig": {"serviceName": %q},
"methodConfig": [
 {"name": [{}], "timeout": "%ds"},
 {"name": [%s], "timeout": "%ds",
  "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}},
 {"name": [%s], "timeout": "%ds"},
 {"name": [%s]}
]}`, balancing, signetv1.TokenService_ServiceDesc.ServiceName, seconds(changeTime), named(reads), seconds(callTime), named(mints), seconds(callTime), named(watches))

func seconds(d time.Duration) int { return int(d / time.Second) }

// named are the methods of a kind, as a service config names them.
func named(k kind) string {
	var names []string
	for _, full := range slices.Sorted(maps.Keys(kindOf)) {
		if kindOf[full] == k {
			service, method, _ := strings.Cut(full[1:], "/")
			names = append(names, fmt.Sprintf(`{"service": %q, "method": %q}`, service, method))
		}
	}
	return strings.Join(names, ", ")
}
