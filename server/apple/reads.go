package apple

import (
	"fmt"
	"slices"
	"strings"
)

// bundles are the reads of one app that a profile can name in place of their requests. A scope is literal, so a bundle
// has what can be written down knowing the app's id alone: its lists, by the relationship and by the filter, which are two
// requests to Apple. What is reached by an id of its own, such as /v1/builds/{id}, is in none, and neither is anything
// that carries a person's data or a password (testers, feedback, review details with their demo accounts).
//
// A bundle is frozen. A policy names it, and the policy's digest and history say that who may do what has not changed; so
// a program of another version must give the same name the same requests. Another set needs another name, and a bundle
// that somebody may have applied is never taken out. TestBundles pins them.
//
// Each request is one of Apple's API, whose page the comment names; a query has a filter or an include that the page lists.
var bundles = []struct {
	name     string
	requests []string // {app} stands for the app's id
}{
	{"builds", []string{
		"/v1/apps/{app}",                    // Read App Information
		"/v1/apps/{app}/builds",             // List All Builds of an App
		"/v1/apps/{app}/preReleaseVersions", // List All Prerelease Versions for an App
		"/v1/builds?filter[app]={app}",      // List Builds
		"/v1/builds?filter[app]={app}&include=preReleaseVersion",
		"/v1/preReleaseVersions?filter[app]={app}", // List Prerelease Versions
	}},
	{"beta", []string{
		"/v1/apps/{app}",                              // Read App Information
		"/v1/apps/{app}/betaAppLocalizations",         // List All Beta App Localizations of an App
		"/v1/apps/{app}/betaGroups",                   // List All Beta Groups for an App
		"/v1/apps/{app}/betaLicenseAgreement",         // Read the Beta License Agreement of an App
		"/v1/betaAppLocalizations?filter[app]={app}",  // List Beta App Localizations
		"/v1/betaGroups?filter[app]={app}",            // List Beta Groups
		"/v1/betaLicenseAgreements?filter[app]={app}", // List Beta License Agreements
	}},
	{"metadata", []string{
		"/v1/apps/{app}",          // Read App Information
		"/v1/apps/{app}/appInfos", // List All App Infos for an App
		"/v1/apps/{app}/appInfos?include=appInfoLocalizations",
		"/v1/apps/{app}/appStoreVersions", // List All App Store Versions for an App
		"/v1/apps/{app}/appStoreVersions?include=appStoreVersionLocalizations",
		"/v1/apps/{app}/endUserLicenseAgreement", // Read the End User License Agreement Information of an App
	}},
}

// Reads lists the bundles of reads of one app that ReadScope knows, in the order in which they are documented.
func Reads() []string {
	names := make([]string, len(bundles))
	for i, b := range bundles {
		names[i] = b.name
	}
	return names
}

// ReadScope returns the requests of a bundle for one app, strictly ascending. They never change from version to version.
func ReadScope(name string, app AppID) ([]Scope, error) {
	i := slices.Index(Reads(), name)
	if i < 0 {
		return nil, fmt.Errorf("there is no bundle of reads of this name: want some of %s", strings.Join(Reads(), ", "))
	}
	scope := make([]Scope, len(bundles[i].requests))
	for j, request := range bundles[i].requests {
		scope[j] = Scope("GET " + strings.ReplaceAll(request, "{app}", string(app)))
	}
	slices.Sort(scope)
	return scope, nil
}
