package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
)

func TestKeyNameOf(t *testing.T) {
	for called, want := range map[string]string{
		"AuthKey_2X9R4HXF34": "authkey_2x9r4hxf34", "iOS Team": "ios-team", " Ärger & Co. ": "rger---co", "a/b": "a-b", "..": "", "": "", "release.v2": "release.v2",
	} {
		if got := keyNameOf(called); got != want {
			t.Errorf("keyNameOf(%q) = %q, want %q", called, got, want)
		}
	}
	s := &source{file: "keys/??.p8"}
	if _, err := s.batchName(""); err == nil {
		t.Error("a name was made of nothing")
	}
	if name, err := s.batchName("x/"); err == nil {
		t.Errorf("a name was made of nothing: %q", name)
	}
}

const adsID = "SEARCHADS.9703f56c-10ce-4876-8f59-e78e5e23a152"

func said(t apple.FactTexts) keyFlags       { return keyFlags{factFlags: factFlags{t}} }
func saidOfMany(t apple.FactTexts) keyFlags { return keyFlags{factFlags: factFlags{t}, many: true} }

// sec1Key is a key as openssl ecparam -genkey writes it, which is how Apple Ads has its customers make theirs.
func sec1Key(t *testing.T) *apple.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := apple.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	if !key.SEC1() {
		t.Fatal("the key is not known to be in SEC1 form")
	}
	return key
}

// TestComplete settles what flags, text and file name say, each against the others.
func TestComplete(t *testing.T) {
	const issuer, other = "57246542-96fe-1a63-e053-0824d011072a", "69a6de70-03db-47e3-e053-5b8c7c11a4d1"
	sec1 := sec1Key(t)
	team := apple.Handed{Kind: apple.KindAppStoreConnect, KeyID: "AAAAAAAAAA", Issuer: issuer}
	tests := []struct {
		name   string
		handed apple.Handed
		key    *apple.Key
		file   string
		flags  keyFlags
		want   apple.Facts
		err    string
		notes  []string
	}{
		{name: "flags and the file's name", file: "x/AuthKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{Kind: "enterprise", Issuer: issuer}), want: apple.Facts{Kind: apple.KindEnterprise, KeyID: "BBBBBBBBBB", Issuer: issuer}},
		{name: "the text alone", handed: team, file: "x.p8", want: apple.Facts{Kind: team.Kind, KeyID: team.KeyID, Issuer: issuer}},
		{name: "flags that agree", handed: team, flags: said(apple.FactTexts{Kind: "app-store-connect", KeyID: "AAAAAAAAAA", Issuer: strings.ToUpper(issuer)}), want: apple.Facts{Kind: team.Kind, KeyID: team.KeyID, Issuer: issuer}},
		{name: "another kind", handed: team, flags: said(apple.FactTexts{Kind: "enterprise"}), want: apple.Facts{Kind: apple.KindEnterprise, KeyID: team.KeyID, Issuer: issuer}, notes: []string{"which counts"}},
		{name: "another key ID", handed: team, flags: said(apple.FactTexts{KeyID: "BBBBBBBBBB"}), err: "--key-id is not the key ID"},
		{name: "another issuer", handed: team, flags: said(apple.FactTexts{Issuer: other}), err: "--issuer-id is not the issuer ID"},
		{name: "an odd key ID", handed: apple.Handed{Kind: team.Kind, Issuer: issuer}, flags: said(apple.FactTexts{KeyID: "SHORT"}), want: apple.Facts{Kind: team.Kind, KeyID: "SHORT", Issuer: issuer}, notes: []string{"ten upper-case"}},
		{name: "a file of another name", handed: team, file: "AuthKey_BBBBBBBBBB.p8", want: apple.Facts{Kind: team.Kind, KeyID: team.KeyID, Issuer: issuer}, notes: []string{"than the text beside the key, which counts"}},
		{name: "a file of an individual's name", handed: team, file: "ApiKey_AAAAAAAAAA.p8", want: apple.Facts{Kind: team.Kind, KeyID: team.KeyID, Issuer: issuer}, notes: []string{"individual key, and it is taken for"}},
		{name: "an In-App Purchase key's name", file: "SubscriptionKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{Issuer: issuer}), want: apple.Facts{Kind: apple.KindInAppPurchase, KeyID: "BBBBBBBBBB", Issuer: issuer}, notes: []string{"taken for an in-app-purchase key"}},
		{name: "an individual's name", file: "ApiKey_BBBBBBBBBB.p8", want: apple.Facts{Kind: apple.KindAppStoreConnectIndividual, KeyID: "BBBBBBBBBB"}, notes: []string{"taken for an app-store-connect-individual key"}},
		{name: "an In-App Purchase key's name, as a team key", file: "SubscriptionKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{Kind: "app-store-connect", Issuer: issuer}), err: "--kind says another"},
		{name: "an In-App Purchase key without its issuer", file: "SubscriptionKey_BBBBBBBBBB.p8", err: "a key of kind in-app-purchase needs --issuer-id"},
		{name: "no kind", file: "AuthKey_BBBBBBBBBB.p8", err: "--kind is needed"},
		{name: "an issuer makes it a team's", file: "AuthKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{Issuer: issuer}), want: apple.Facts{Kind: team.Kind, KeyID: "BBBBBBBBBB", Issuer: issuer}, notes: []string{"by its issuer ID it is taken for a team key"}},
		{name: "an issuer, and another name", file: "x.p8", flags: said(apple.FactTexts{KeyID: "BBBBBBBBBB", Issuer: issuer}), err: "--kind is needed"},
		{name: "an In-App Purchase key's name, and the portal's flags", file: "SubscriptionKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{Team: "DEF123GHIJ", Services: []string{"apns"}}), err: "a key of kind in-app-purchase has no team ID"},
		{name: "an individual's name, and an issuer", file: "ApiKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{Issuer: issuer}), err: "an individual key has no issuer ID"},
		{name: "a client and a team of two kinds", file: "ads.pem", flags: said(apple.FactTexts{Team: "DEF123GHIJ", Client: adsID, KeyID: "a273d0d3-4d9e-458c-a173-0db8619ca7d7"}), err: "the team ID is that of another kind"},
		{name: "a client and services", file: "ads.pem", flags: said(apple.FactTexts{Client: adsID, Services: []string{"apns"}}), err: "a key of kind apple-ads has no list of services"},
		{name: "a SEC1 file is none of the portal's", key: sec1, file: "x.pem", flags: said(apple.FactTexts{Team: "DEF123GHIJ", Services: []string{"apns"}}), err: "--kind is needed"},
		{name: "a SEC1 file of the portal's, if one says so", key: sec1, file: "x.pem", flags: said(apple.FactTexts{Kind: "developer-portal", KeyID: "BBBBBBBBBB", Team: "DEF123GHIJ", Services: []string{"apns"}}),
			want: apple.Facts{Kind: apple.KindDeveloperPortal, KeyID: "BBBBBBBBBB", Team: "DEF123GHIJ", Services: []apple.Service{"apns"}}},
		{name: "a team makes it the portal's", file: "AuthKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{Team: "DEF123GHIJ", Services: []string{"device-check", "apns", "apns"}}),
			want: apple.Facts{Kind: apple.KindDeveloperPortal, KeyID: "BBBBBBBBBB", Team: "DEF123GHIJ", Services: []apple.Service{"apns", "device-check"}}},
		{name: "services make it the portal's", file: "AuthKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{Services: []string{"apns"}}), err: "a key of kind developer-portal needs --team-id"},
		{name: "all that the portal's lacks", file: "x.p8", flags: said(apple.FactTexts{Kind: "developer-portal"}), err: "needs --key-id and --team-id and --services"},
		{name: "a service that is none", file: "AuthKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{Services: []string{"push"}}), err: "--services: unknown service"},
		{name: "topics without APNs", file: "AuthKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{Team: "DEF123GHIJ", Services: []string{"weatherkit"}, Topics: []string{"com.example.app"}}), err: "topics are of APNs"},
		{name: "an issuer of the portal's", file: "AuthKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{Team: "DEF123GHIJ", Services: []string{"apns"}, Issuer: issuer}), err: "has no issuer ID"},
		{name: "a client makes it Apple Ads'", file: "ads.pem", flags: said(apple.FactTexts{Client: adsID, Team: adsID, KeyID: "a273d0d3-4d9e-458c-a173-0db8619ca7d7"}),
			want: apple.Facts{Kind: apple.KindAppleAds, KeyID: "a273d0d3-4d9e-458c-a173-0db8619ca7d7", Team: adsID, Client: adsID}},
		{name: "a client makes it Business'", file: "business.pem", flags: said(apple.FactTexts{Client: "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152", KeyID: "d136aa66-0c3b-4bd4-9892-c20e8db024ab"}),
			want: apple.Facts{Kind: apple.KindSchoolBusiness, KeyID: "d136aa66-0c3b-4bd4-9892-c20e8db024ab", Client: "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152"}},
		{name: "the client of another kind", file: "ads.pem", flags: said(apple.FactTexts{Kind: "school-business", Client: adsID, KeyID: "d136aa66-0c3b-4bd4-9892-c20e8db024ab"}), err: "that of another kind"},
		{name: "an odd key ID of Apple Ads", file: "ads.pem", flags: said(apple.FactTexts{Client: adsID, Team: adsID, KeyID: "2X9R4HXF34"}),
			want: apple.Facts{Kind: apple.KindAppleAds, KeyID: "2X9R4HXF34", Team: adsID, Client: adsID}, notes: []string{"not a UUID"}},
		{name: "an app makes it a marketplace's", file: "AuthKey_BBBBBBBBBB.p8", flags: said(apple.FactTexts{App: "1234567890"}), want: apple.Facts{Kind: apple.KindMarketplace, App: "1234567890"}},
		{name: "many: each takes what its kind has", file: "AuthKey_BBBBBBBBBB.p8", flags: saidOfMany(apple.FactTexts{Kind: "developer-portal", Team: "DEF123GHIJ", Services: []string{"apns"}, Issuer: issuer}),
			want: apple.Facts{Kind: apple.KindDeveloperPortal, KeyID: "BBBBBBBBBB", Team: "DEF123GHIJ", Services: []apple.Service{"apns"}}},
		{name: "many: flags fill in", flags: saidOfMany(apple.FactTexts{Kind: "app-store-connect", Issuer: issuer}), file: "AuthKey_BBBBBBBBBB.p8", want: apple.Facts{Kind: team.Kind, KeyID: "BBBBBBBBBB", Issuer: issuer}},
		{name: "many: flags give way", handed: team, flags: saidOfMany(apple.FactTexts{Kind: "enterprise", Issuer: other}), want: apple.Facts{Kind: team.Kind, KeyID: team.KeyID, Issuer: issuer}},
		{name: "many: an individual key gets no issuer", handed: apple.Handed{Kind: apple.KindAppStoreConnectIndividual, KeyID: "AAAAAAAAAA"}, flags: saidOfMany(apple.FactTexts{Kind: "app-store-connect", Issuer: issuer}),
			want: apple.Facts{Kind: apple.KindAppStoreConnectIndividual, KeyID: "AAAAAAAAAA"}},
		{name: "many: an In-App Purchase key among the portal's", file: "SubscriptionKey_BBBBBBBBBB.p8", flags: saidOfMany(apple.FactTexts{Issuer: issuer, Team: "DEF123GHIJ", Services: []string{"apns"}}),
			want: apple.Facts{Kind: apple.KindInAppPurchase, KeyID: "BBBBBBBBBB", Issuer: issuer}, notes: []string{"taken for an in-app-purchase key"}},
		{name: "many: a team's or the portal's", file: "AuthKey_BBBBBBBBBB.p8", flags: saidOfMany(apple.FactTexts{Issuer: issuer, Team: "DEF123GHIJ", Services: []string{"apns"}}), err: "--kind is needed"},
		{name: "many: the portal's among those of Apple Ads", file: "AuthKey_BBBBBBBBBB.p8", flags: saidOfMany(apple.FactTexts{Team: "DEF123GHIJ", Services: []string{"apns"}, Client: adsID}),
			want: apple.Facts{Kind: apple.KindDeveloperPortal, KeyID: "BBBBBBBBBB", Team: "DEF123GHIJ", Services: []apple.Service{"apns"}}},
		{name: "many: Apple Ads' among the portal's", key: sec1, file: "ads.pem", flags: saidOfMany(apple.FactTexts{Services: []string{"apns"}, Client: adsID}), err: "a key of kind apple-ads needs the key ID in the name AuthKey_<key ID>.p8, or --key-id for one key alone and --team-id"},
		{name: "many: the portal's or Business'", file: "x.pem", flags: saidOfMany(apple.FactTexts{Team: "DEF123GHIJ", Services: []string{"apns"}, Client: "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152"}), err: "--kind is needed"},
		{name: "many: an individual's file among a team's", file: "ApiKey_BBBBBBBBBB.p8", flags: saidOfMany(apple.FactTexts{Kind: "app-store-connect", Issuer: issuer}), err: "--kind says another"},
		{name: "the lifetime", handed: apple.Handed{Shape: apple.ShapeFastlane, Kind: team.Kind, KeyID: team.KeyID, Issuer: issuer, Duration: 500 * time.Second}, want: apple.Facts{Kind: team.Kind, KeyID: team.KeyID, Issuer: issuer}, notes: []string{"ttl: 8m20s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &source{label: "it", handed: tt.handed, key: tt.key, keyFile: tt.file}
			err := s.complete(tt.flags)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error = %v, want %q", err, tt.err)
				}
				if cli.Code(err) != cli.Malformed {
					t.Errorf("exit code %d", cli.Code(err))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, s.facts); diff != "" {
				t.Error(diff)
			}
			if len(s.notes) != len(tt.notes) {
				t.Fatalf("the notes are %q", s.notes)
			}
			for i, want := range tt.notes {
				if !strings.Contains(s.notes[i], want) {
					t.Errorf("note %q, want %q", s.notes[i], want)
				}
			}
		})
	}
}

// TestPlanBy plans a key by every state in which the vault may have it already.
func TestPlanBy(t *testing.T) {
	const issuer = "57246542-96fe-1a63-e053-0824d011072a"
	const active, revoked = signetv1.VersionState_VERSION_STATE_ACTIVE, signetv1.VersionState_VERSION_STATE_REVOKED
	here := &signetv1.Key{Name: "a", Kind: "enterprise", Versions: []*signetv1.KeyVersion{{}, {}}}
	withRoles := func(roles ...string) *signetv1.Key {
		return &signetv1.Key{Name: "a", Kind: "enterprise", IssuerId: issuer, Facts: &signetv1.KeyFacts{Roles: roles}}
	}
	tests := []struct {
		name      string
		here      *signetv1.Key
		roles     []apple.Role
		is        []named
		duplicate string
		plan      string
		says      string
	}{
		{name: "new", plan: planNew},
		{name: "a version", here: here, plan: "version 3"},
		{name: "another kind", here: &signetv1.Key{Kind: "app-store-connect"}, plan: planBad, says: "another name"},
		{name: "another issuer", here: &signetv1.Key{Kind: "enterprise", IssuerId: "69a6de70-03db-47e3-e053-5b8c7c11a4d1"}, plan: planBad, says: "another issuer id"},
		{name: "a version, with roles that the key has", here: withRoles("APP_MANAGER"), roles: []apple.Role{apple.RoleAppManager}, plan: "version 1"},
		{name: "a version, which inherits them", here: withRoles("APP_MANAGER"), plan: "version 1"},
		{name: "other roles", here: withRoles("ADMIN"), roles: []apple.Role{apple.RoleAppManager}, plan: planBad, says: "another list of roles"},
		{name: "roles that the key has not", here: withRoles(), roles: []apple.Role{apple.RoleAppManager}, plan: planBad, says: "signet key update first"},
		{name: "roles of a server that says no facts", here: here, roles: []apple.Role{apple.RoleAppManager}, plan: "version 3"},
		{name: "roles that this program does not know", here: withRoles("SORCERER"), roles: []apple.Role{apple.RoleAppManager}, plan: "version 1"},
		{name: "there", here: here, is: []named{{"a", active}}, plan: planHere},
		{name: "there and elsewhere", here: here, is: []named{{"b", active}, {"a", active}}, plan: planHere},
		{name: "elsewhere", is: []named{{"b", active}}, plan: planBad, says: "--allow-duplicate b"},
		{name: "elsewhere, allowed", is: []named{{"b", active}}, duplicate: "b", plan: planNew},
		{name: "elsewhere, another allowed", is: []named{{"b", active}}, duplicate: "c", plan: planBad, says: "--allow-duplicate b"},
		{name: "nowhere, and allowed", duplicate: "b", plan: planBad, says: "does not have"},
		{name: "revoked", is: []named{{"b", revoked}}, duplicate: "b", plan: planBad, says: "does not come back"},
		{name: "revoked under one name", here: here, is: []named{{"a", active}, {"b", revoked}}, plan: planBad, says: "does not come back"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := &item{Name: "a", source: &source{facts: apple.Facts{Kind: apple.KindEnterprise, KeyID: "2X9R4HXF34", Issuer: issuer, Roles: tt.roles}}}
			i.planBy(tt.here, tt.is, tt.duplicate)
			if i.Plan != tt.plan || !strings.Contains(i.Problem, tt.says) {
				t.Errorf("plan %q, problem %q", i.Plan, i.Problem)
			}
		})
	}
}

func TestSayLeft(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file := func(path string) string {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, fs.FileMode(0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := file("plain/it's a key.p8")
	file("repo/.git/HEAD")
	tracked := file("repo/ios/keys/AuthKey.p8")
	second := file("repo/ios/keys/Other.p8")
	cloud := file("Library/Mobile Documents/com~apple~CloudDocs/AuthKey.p8")
	tests := []struct {
		name     string
		sources  []*source
		want     []string
		wantNone []string
	}{
		{name: "nothing", sources: []*source{{}}, wantNone: []string{"\n"}},
		{name: "a file", sources: []*source{{keyFile: plain}}, want: []string{"still lies in " + plain + ". First.", `'\''s a key.p8'`, "make a new key at Apple"}, wantNone: []string{"git", "syncs", "variable"}},
		{name: "in git", sources: []*source{{keyFile: tracked}}, want: []string{"It lies in the git work tree " + root + "/repo:", "git -C " + root + "/repo log --all --oneline -- " + tracked}},
		{name: "several in git, one twice", sources: []*source{{keyFile: tracked}, {keyFile: second}, {keyFile: second}}, want: []string{"The plaintext of 2 keys", "log --all --oneline -- " + root + "/repo\n", tracked + " " + second + "\n"}},
		{name: "synced", sources: []*source{{keyFile: cloud}}, want: []string{"a folder that iCloud syncs"}},
		{name: "a variable", sources: []*source{{variable: "ASC_PRIVATE_KEY"}}, want: []string{"environment variable ASC_PRIVATE_KEY", "unset ASC_PRIVATE_KEY"}, wantNone: []string{"file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			a := &app{Env: cli.Env{Stderr: &out}}
			a.sayLeft(tt.sources, "First.")
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, &out)
				}
			}
			for _, none := range tt.wantNone {
				if strings.Contains(strings.ReplaceAll(out.String(), "an .env file", ""), none) {
					t.Errorf("it says %q:\n%s", none, &out)
				}
			}
		})
	}
}

func TestSyncedBy(t *testing.T) {
	for path, want := range map[string]string{
		"/home/a/Dropbox/k.p8": "Dropbox", "/home/a/Dropbox (Acme)/x/k.p8": "Dropbox", "/Users/a/Library/CloudStorage/GoogleDrive-me@acme.com/k.p8": "a cloud service",
		"/Users/a/OneDrive - Acme/k.p8": "OneDrive", "/home/a/Dropbox": "", "/home/a/Dropboxes/k.p8": "", "/home/a/k.p8": "",
	} {
		if got := syncedBy(path); got != want {
			t.Errorf("syncedBy(%q) = %q, want %q", path, got, want)
		}
	}
}

// Every system gets a command, and none is promised what it cannot do.
func TestErase(t *testing.T) {
	for _, system := range []string{"linux", "darwin", "windows", "freebsd"} {
		command, caveat := erase(system)
		if command == "" || !strings.Contains(caveat, "SSD") || strings.Contains(command, "shred") != (system == "linux") || strings.Contains(command, "-P") {
			t.Errorf("erase(%s) = %q, %q", system, command, caveat)
		}
	}
}
