package apple

// Limits of a scope.
const (
	MaxScopeEntries = 64   // entries in one token
	MaxScopeLen     = 1024 // bytes of one entry
)

// Scope is one request that a scoped token may make, "GET /v1/path?query", in canonical form: two equal Scopes are the
// same request. Only ParseScope and ParseScopes make one.
type Scope string

// ParseScope parses one entry.
func ParseScope(s string) (Scope, error) { panic("apple: not yet") }

// ParseScopes parses the entries of one scope: sorted, equal ones merged.
func ParseScopes(entries []string) ([]Scope, error) { panic("apple: not yet") }

func checkScopes(scopes []Scope) error { panic("apple: not yet") }

func narrow(granted, asked []Scope) ([]Scope, error) { panic("apple: not yet") }
