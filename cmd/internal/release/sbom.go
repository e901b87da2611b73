package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// The parts of CycloneDX 1.6 that a Go program fills.
type (
	sbom struct {
		Format       string       `json:"bomFormat"`
		SpecVersion  string       `json:"specVersion"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		PURL       string     `json:"purl"`
		Hashes     []hash     `json:"hashes,omitempty"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn"`
	}
)

// writeSBOM writes, beside a program, what went into it: as the program itself says it, not as a go.mod lists it.
func writeSBOM(path, program, version string, built time.Time) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("reading the build info of %s: %w", filepath.Base(path), err)
	}
	text, err := json.MarshalIndent(describe(info, sha256.Sum256(data), program, version, built), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path+".cdx.json", append(text, '\n'), 0o644)
}

// describe is the SBOM of a program with that hash.
func describe(info *debug.BuildInfo, sum [sha256.Size]byte, program, version string, built time.Time) sbom {
	self := component{
		Type: "application", Name: program, Version: version, PURL: purl(info.Main.Path, version) + "#cmd/" + program,
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
	}
	self.Ref = self.PURL
	for _, s := range info.Settings {
		self.Properties = append(self.Properties, property{"go:build:" + s.Key, s.Value})
	}
	goVersion := strings.TrimPrefix(info.GoVersion, "go")
	parts := []component{{Type: "library", Ref: purl("std", goVersion), Name: "std", Version: goVersion, PURL: purl("std", goVersion)}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		p := purl(m.Path, m.Version)
		parts = append(parts, component{
			Type: "library", Ref: p, Name: m.Path, Version: m.Version, PURL: p,
			Properties: []property{{"go:sum", m.Sum}}, // a hash of Go's own kind, over the module's files
		})
	}
	all := dependency{Ref: self.Ref, DependsOn: []string{}}
	for _, c := range parts {
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	return sbom{
		Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata:   metadata{built.UTC().Format(time.RFC3339), self},
		Components: parts, Dependencies: []dependency{all},
	}
}

// purl is a package URL; the standard library's is that of the pseudo-module std.
func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}
