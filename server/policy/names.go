package policy

import (
	"errors"
	"slices"
	"strings"

	"github.com/p8signet/signet/server/apple"
)

// maxNameLen bounds the names of keys, profiles and grants.
const maxNameLen = 128

// PrincipalKind says how a principal was authenticated.
type PrincipalKind string

// PrincipalMTLS is a client certificate with one SPIFFE id.
const PrincipalMTLS PrincipalKind = "mtls"

// Principal is who was authenticated. Package authn makes it; the zero
// Principal is nobody and is denied everything.
type Principal struct {
	Kind        PrincipalKind
	ID          string            // full SPIFFE id: spiffe://trust-domain/path
	Claims      map[string]string // what else the credential proved; none for mtls
	Certificate string            // "sha256:<lower-case hex>" of the leaf certificate's DER
	Peer        string            // network address, for the log only; never decides
}

// Action is something a caller may do: the same word in a policy's do, in the
// server's method table and in the audit log.
type Action string

// The actions. TokenMint is granted by mint, every other one by do.
const (
	TokenMint         Action = "token.mint"
	KeyRead           Action = "key.read"
	KeyImport         Action = "key.import"
	KeyActivate       Action = "key.activate"
	KeyDisable        Action = "key.disable"
	KeyEnable         Action = "key.enable"
	KeyRevoke         Action = "key.revoke"
	KeyDestroy        Action = "key.destroy"
	KeyUpdate         Action = "key.update"
	PolicyRead        Action = "policy.read"
	PolicyApply       Action = "policy.apply"
	PolicyExplain     Action = "policy.explain"
	AuditRead         Action = "audit.read"
	SystemRead        Action = "system.read"
	SystemIssue       Action = "system.issue"
	SystemSeal        Action = "system.seal"
	SystemBackup      Action = "system.backup"
	SystemRewrap      Action = "system.rewrap"
	SystemAcknowledge Action = "system.acknowledge"
	SystemMembers     Action = "system.members"
)

var actions = []Action{
	TokenMint,
	KeyRead, KeyImport, KeyActivate, KeyDisable, KeyEnable, KeyRevoke, KeyDestroy, KeyUpdate,
	PolicyRead, PolicyApply, PolicyExplain,
	AuditRead,
	SystemRead, SystemIssue, SystemSeal, SystemBackup, SystemRewrap, SystemAcknowledge, SystemMembers,
}

// Actions lists every action, in the order of the documentation.
func Actions() []Action { return slices.Clone(actions) }

// ParseAction returns the action of that name.
func ParseAction(s string) (Action, error) {
	if slices.Contains(actions, Action(s)) {
		return Action(s), nil
	}
	return "", errors.New("not an action: actions are words such as key.read or policy.apply")
}

// onKey says whether the action is done to one key, so that a grant's on limits it.
func (a Action) onKey() bool { return strings.HasPrefix(string(a), "key.") }

// keptByOperators says whether no policy can take the action from an operator.
func (a Action) keptByOperators() bool {
	return a == PolicyApply || a == KeyDisable || a == KeyRevoke || strings.HasPrefix(string(a), "system.")
}

// KeyName is our name of a key: segments of lower-case letters, digits, dots,
// underscores and hyphens, joined by slashes; at most 128 bytes.
type KeyName string

// ParseKeyName checks a key's name. The error does not repeat it.
func ParseKeyName(s string) (KeyName, error) {
	switch {
	case s == "":
		return "", errors.New("the key's name is empty")
	case len(s) > maxNameLen:
		return "", errors.New("the key's name is longer than 128 bytes")
	}
	for segment := range strings.SplitSeq(s, "/") {
		if !isName(segment) {
			return "", errors.New("not a key name: want parts such as ios/asc-release, each of a-z 0-9 . _ - and beginning with a letter or digit")
		}
	}
	return KeyName(s), nil
}

// ProfileName is the name of a profile: lower-case letters, digits, dots,
// underscores and hyphens; at most 128 bytes.
type ProfileName string

// ParseProfileName checks a profile's name. The error does not repeat it.
func ParseProfileName(s string) (ProfileName, error) {
	switch {
	case s == "":
		return "", errors.New("the profile's name is empty")
	case len(s) > maxNameLen:
		return "", errors.New("the profile's name is longer than 128 bytes")
	case !isName(s):
		return "", errors.New("not a profile name: want a-z 0-9 . _ - beginning with a letter or digit")
	}
	return ProfileName(s), nil
}

func isName(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i]) || i == 0 && !isAlphanumeric(s[i]) {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func isNameByte(c byte) bool { return isAlphanumeric(c) || c == '.' || c == '_' || c == '-' }

// KeyState says whether a key's active version may mint now.
type KeyState string

// The states of a key, as far as minting goes.
const (
	KeyStateUsable   KeyState = "usable"
	KeyStateDisabled KeyState = "disabled"  // an operator turned the key off
	KeyStateRevoked  KeyState = "revoked"   // it has versions, and the one that was to mint was revoked
	KeyStateNoActive KeyState = "no-active" // no version of it is active
	KeyStateDamaged  KeyState = "damaged"   // its record does not open
)

// KeyFacts is what a decision must know about a key.
type KeyFacts struct {
	apple.Facts // of the active version; the Kind alone where none is active
	State       KeyState
	Version     int    // number of the active version; 0 without one
	Fingerprint string // of the active version's public key, for the log
}

// Facts is what is known about the keys at one moment. It is called on the hot
// path, once a decision, and must be safe for concurrent use and not block.
//
// A nil Facts means that nothing is known, as where a document is checked away
// from its vault: keys are then taken to exist, to fit and to be usable, and an
// allowing Decision has no Spec.
type Facts interface {
	Key(KeyName) (KeyFacts, bool)
}
