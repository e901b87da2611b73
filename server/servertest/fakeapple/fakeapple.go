// Package fakeapple stands for Apple's servers in tests: they take what is signed for them and refuse what Apple refuses,
// by Apple's documentation and what is known beyond it.
//
//	a := fakeapple.New(clock.Now)
//	a.Register(fakeapple.Key{Kind: fakeapple.Team, ID: kid, Issuer: issuer, Public: public})
//	client := &http.Client{Transport: a} // or httptest.NewServer(a); PushServer is APNs, over HTTP/2
//
// It imports nothing of ours and no library of JWTs, so that it shares no mistake with what it judges. Where Apple's
// documentation is silent it is stricter than Apple is known to be: a claim or a member of a header that Apple does not list is
// refused, a name that stands there twice too, and aud is a string and no list.
//
// Why something was refused Apple seldom says. An Apple remembers it, and Refusals tells a test.
package fakeapple

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// Kind is a kind of key.
type Kind string

// The kinds of key.
const (
	Team           Kind = "team"       // of App Store Connect; with an issuer
	Individual     Kind = "individual" // of App Store Connect; without
	Enterprise     Kind = "enterprise" // with an issuer
	InAppPurchase  Kind = "in-app purchase"
	Portal         Kind = "portal" // with a team and services
	Ads            Kind = "ads"    // with a team and a client
	SchoolBusiness Kind = "school or business"
	Marketplace    Kind = "marketplace" // with an app, and no ID
)

// Service is what a portal key is enabled for.
type Service string

// The services of portal keys.
const (
	APNs        Service = "APNs"
	DeviceCheck Service = "DeviceCheck"
	SignIn      Service = "Sign in with Apple"
	Media       Service = "Media Services"
	Maps        Service = "MapKit JS"
	Weather     Service = "WeatherKit"
	ClassKit    Service = "ClassKit"
	IWork       Service = "iWork"
)

// Key is what Apple knows of a key.
type Key struct {
	Kind   Kind
	ID     string
	Public *ecdsa.PublicKey
	Issuer string
	Team   string
	Client string // the API account of Ads, School and Business
	App    string // the marketplace's number

	Services []Service
	// Clients are the App IDs and Services IDs of a portal key's team: for Sign in with Apple, and for WeatherKit.
	Clients []string
	// Sandbox and Production are where an APNs key works; both, as an old one, when neither is set.
	Sandbox, Production bool
	// Topics are those of a topic-specific APNs key; nil for a team-scoped one. Related is the ID of the one key that may
	// take its place on a connection.
	Topics  []string
	Related string
	// May says whether the key's role allows a request of App Store Connect; nil allows all.
	May func(method, path string) bool
	// HourLimit is how many requests of App Store Connect it has in an hour; 3500 when 0.
	HourLimit int
}

// registered is a key and what has become of it.
type registered struct {
	Key
	revoked  int         // the status with which App Store Connect refuses it; 0 while it is good
	requests []time.Time // of the last hour
}

// Apple is all of Apple's servers. It may be used concurrently.
type Apple struct {
	now func() time.Time

	mu       sync.Mutex
	keys     []*registered
	stumbles int
	used     map[string]bool // nonces, jtis, signatures of exports and access tokens of maps
	access   map[string]time.Time
	refusals []string
	taken    int
}

// New is an Apple of a clock's time, without keys.
func New(now func() time.Time) *Apple {
	return &Apple{now: now, used: map[string]bool{}, access: map[string]time.Time{}}
}

// Register makes a key known, as if it was made at Apple.
func (a *Apple) Register(k Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = append(a.keys, &registered{Key: k})
}

// Revoke revokes a key. App Store Connect answers it with status from then on: 401 or 403, for both are known.
func (a *Apple) Revoke(id string, status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.keys {
		if k.ID == id {
			k.revoked = status
		}
	}
}

// Stumble has App Store Connect answer the next n requests that it would take with 401, as it sometimes does.
func (a *Apple) Stumble(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stumbles = n
}

// Refusals are the reasons of all that was refused, oldest first.
func (a *Apple) Refusals() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.refusals...)
}

// Taken counts what was taken.
func (a *Apple) Taken() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.taken
}

// judge runs a check under the lock, and keeps what came of it.
func (a *Apple) judge(check func() error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := check()
	if err != nil {
		a.refusals = append(a.refusals, err.Error())
	} else {
		a.taken++
	}
	return err
}

// unix is Apple's clock.
func (a *Apple) unix() int64 { return a.now().Unix() }

// once reports an error when something was seen before.
func (a *Apple) once(what, value string) error {
	name := what + " " + value
	if a.used[name] {
		return fmt.Errorf("the %s was used before", what)
	}
	a.used[name] = true
	return nil
}

var (
	errUnknownKey = errors.New("the kid is of no key that is known here")
	errRevoked    = errors.New("the key is revoked")
)

// key finds the key of a header among those of some kinds.
func (a *Apple) key(kid string, service Service, kinds ...Kind) (*registered, error) {
	for _, k := range a.keys {
		for _, kind := range kinds {
			if k.ID != kid || k.Kind != kind {
				continue
			}
			if service != "" && !k.serves(service) {
				return nil, fmt.Errorf("the key is not enabled for %s", service)
			}
			if k.revoked != 0 {
				return k, errRevoked
			}
			return k, nil
		}
	}
	return nil, errUnknownKey
}

func (k *registered) serves(s Service) bool {
	for _, has := range k.Services {
		if has == s {
			return true
		}
	}
	return false
}

// hosts are the servers.
var hosts = map[string]func(*Apple, http.ResponseWriter, *http.Request){
	"api.appstoreconnect.apple.com":         (*Apple).connect,
	"api.enterprise.developer.apple.com":    (*Apple).enterprise,
	"appstoreconnect.apple.com":             (*Apple).notary,
	"api.storekit.apple.com":                (*Apple).storeServer,
	"api.storekit-sandbox.apple.com":        (*Apple).storeServer,
	"api.storekit.itunes.apple.com":         (*Apple).storeServer,
	"api.storekit-sandbox.itunes.apple.com": (*Apple).storeServer,
	"api.devicecheck.apple.com":             (*Apple).deviceCheck,
	"api.development.devicecheck.apple.com": (*Apple).deviceCheck,
	"data.appattest.apple.com":              (*Apple).appAttest,
	"data-development.appattest.apple.com":  (*Apple).appAttest,
	"appleid.apple.com":                     (*Apple).appleID,
	"account.apple.com":                     (*Apple).account,
	"api.music.apple.com":                   (*Apple).music,
	"api.ent.apple.com":                     (*Apple).music,
	"maps-api.apple.com":                    (*Apple).maps,
	"snapshot.apple-mapkit.com":             (*Apple).snapshot,
	"weatherkit.apple.com":                  (*Apple).weather,
}

// ServeHTTP answers for the server that the request's Host names; App Store Connect for a loopback address. APNs wants
// HTTP/2 and has a server of its own: PushServer.
func (a *Apple) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	serve, ok := hosts[strings.ToLower(host)]
	switch ip := net.ParseIP(host); {
	case ok:
	case ip != nil && ip.IsLoopback():
		serve = (*Apple).connect
	default:
		http.Error(w, "no server of Apple's that is known here", http.StatusMisdirectedRequest)
		return
	}
	serve(a, w, r)
}

// RoundTrip sends a request to Apple without a network.
func (a *Apple) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer func() { _ = in.Body.Close() }()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, in)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// bearer is the token of a request.
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", fmt.Errorf("%d Authorization headers", len(values))
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok {
		return "", errors.New("the Authorization header is not Bearer")
	}
	return token, nil
}

// body writes an answer.
func body(w http.ResponseWriter, status int, kind, text string) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

func answerJSON(w http.ResponseWriter, status int, text string) {
	body(w, status, "application/json", text)
}
