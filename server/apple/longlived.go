package apple

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// longLivedReads are the requests of which Apple takes tokens that live up to six months, by the resources that it names.
// What lies under a resource and is not documented with it is left out, relationships among it; Artifacts are not on the list.
var longLivedReads = []struct {
	resource string
	paths    []string
}{
	{"Build Actions", []string{
		"/v1/ciBuildActions/{id}", "/v1/ciBuildActions/{id}/artifacts", "/v1/ciBuildActions/{id}/buildRun",
		"/v1/ciBuildActions/{id}/issues", "/v1/ciBuildActions/{id}/testResults",
	}},
	{"Build Runs", []string{"/v1/ciBuildRuns/{id}", "/v1/ciBuildRuns/{id}/actions", "/v1/ciBuildRuns/{id}/builds"}},
	{"Git References", []string{"/v1/scmGitReferences/{id}"}},
	{"Issues", []string{"/v1/ciIssues/{id}"}},
	{"macOS Versions", []string{"/v1/ciMacOsVersions", "/v1/ciMacOsVersions/{id}", "/v1/ciMacOsVersions/{id}/xcodeVersions"}},
	{"Products", []string{
		"/v1/ciProducts", "/v1/ciProducts/{id}", "/v1/ciProducts/{id}/additionalRepositories", "/v1/ciProducts/{id}/app",
		"/v1/ciProducts/{id}/buildRuns", "/v1/ciProducts/{id}/primaryRepositories", "/v1/ciProducts/{id}/workflows",
		"/v1/apps/{id}/ciProduct",
	}},
	{"Providers", []string{"/v1/scmProviders", "/v1/scmProviders/{id}", "/v1/scmProviders/{id}/repositories"}},
	{"Power and Performance Metrics and Logs", []string{
		"/v1/apps/{id}/perfPowerMetrics", "/v1/builds/{id}/perfPowerMetrics", "/v1/builds/{id}/diagnosticSignatures",
		"/v1/diagnosticSignatures/{id}/logs",
	}},
	{"Pull Requests", []string{"/v1/scmPullRequests/{id}"}},
	{"Repositories", []string{
		"/v1/scmRepositories", "/v1/scmRepositories/{id}", "/v1/scmRepositories/{id}/gitReferences",
		"/v1/scmRepositories/{id}/pullRequests",
	}},
	{"Test Results", []string{"/v1/ciTestResults/{id}"}},
	{"Workflows", []string{"/v1/ciWorkflows/{id}", "/v1/ciWorkflows/{id}/buildRuns", "/v1/ciWorkflows/{id}/repository"}},
	{"Xcode Versions", []string{"/v1/ciXcodeVersions", "/v1/ciXcodeVersions/{id}", "/v1/ciXcodeVersions/{id}/macOsVersions"}},
}

// longLivedPaths are the paths of the list.
var longLivedPaths = func() map[string]bool {
	paths := make(map[string]bool)
	for _, r := range longLivedReads {
		for _, p := range r.paths {
			paths[p] = true
		}
	}
	return paths
}()

// errNotLongLived is why a request cannot be in the scope of a long-lived token.
var errNotLongLived = errors.New("not a request of which a token may live long: Apple takes such tokens only for some reads of Xcode Cloud (/v1/ci… and /v1/scm…) and of performance metrics and diagnostic logs; take it out, or give it a profile of its own that is not long-lived")

// CheckLongLived reports whether Apple takes long-lived tokens for this request. In every path of the list the third
// part is the id; Apple's rule is about the resource, so the query does not matter.
func (s Scope) CheckLongLived() error {
	target, _ := strings.CutPrefix(string(s), "GET ")
	path, _, _ := strings.Cut(target, "?")
	parts := strings.Split(path, "/") // "", "v1", resource, id, …
	if len(parts) > 3 {
		parts[3] = "{id}"
	}
	if !longLivedPaths[strings.Join(parts, "/")] {
		return errNotLongLived
	}
	return nil
}

// checkLongLived checks the scope of a profile of long-lived tokens.
func checkLongLived(scope []Scope) error {
	if len(scope) == 0 {
		return fmt.Errorf("a long-lived token needs a scope: Apple takes tokens that live longer than %s only for some reads, which the scope must name", TTLText(scopedLimits.Max))
	}
	for i, s := range scope {
		if err := s.CheckLongLived(); err != nil {
			return fmt.Errorf("scope entry %d: %w", i+1, err)
		}
	}
	return nil
}

// TTLText writes a lifetime in whole seconds as policies do: 90d, 1d12h, 19m30s.
func TTLText(d time.Duration) string {
	var b strings.Builder
	for _, unit := range []struct {
		length time.Duration
		sign   string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / unit.length; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, unit.sign)
			d -= n * unit.length
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
