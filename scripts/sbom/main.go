// Command sbom lists what a built binary is made of, as CycloneDX 1.6 JSON: every module that the linker kept a record of,
// with its checksum and its licence, and the version of Go.
//
// It reads the binary, not go.mod: what is listed is what runs. The same binary gives the same list. A module without a
// licence that we know is an error.
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
)

func main() {
	out := flag.String("o", "", "the file to write; by default stdout")
	version := flag.String("version", "", "of the binary; by default what the linker recorded")
	flag.Parse()
	if err := run(flag.Arg(0), *out, *version); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(binary, out, version string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	if version != "" {
		info.Main.Version = version
	}
	list, err := describe(info, licenceOf)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if out == "" {
		_, err = os.Stdout.Write(text)
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, text, 0o644) //nolint:gosec // for everybody to read
}

// The parts of CycloneDX 1.6 that we write.
type (
	bom struct {
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		PURL       string     `json:"purl"`
		Licences   []licence  `json:"licenses,omitempty"`
		Properties []property `json:"properties,omitempty"`
	}
	licence struct {
		Licence struct {
			ID string `json:"id"`
		} `json:"license"`
	}
	property   struct{ Name, Value string }
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn"`
	}
)

// MarshalJSON writes the names in lower case.
func (p property) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"name": p.Name, "value": p.Value})
}

// describe makes the list. find gives the licence of a module as an SPDX id.
func describe(info *debug.BuildInfo, find func(path, version string) (string, error)) (bom, error) {
	goVersion := strings.TrimPrefix(strings.Fields(info.GoVersion)[0], "go")
	application := entry("application", info.Main.Path, info.Main.Version, "Apache-2.0")
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS", "GOARCH", "CGO_ENABLED", "vcs.revision":
			application.Properties = append(application.Properties, property{"go:" + s.Key, s.Value})
		}
	}
	list := bom{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{application}}
	list.Components = append(list.Components, entry("library", "std", goVersion, "BSD-3-Clause"))
	var failed error
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		id, err := find(m.Path, m.Version)
		failed = errors.Join(failed, err)
		c := entry("library", m.Path, m.Version, id)
		if m.Sum != "" {
			c.Properties = append(c.Properties, property{"go:sum", m.Sum})
		}
		list.Components = append(list.Components, c)
	}
	all := dependency{Ref: application.Ref}
	for _, c := range list.Components {
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	list.Dependencies = []dependency{all}
	return list, failed
}

func entry(kind, path, version, id string) component {
	ref := "pkg:golang/" + path
	if version != "" {
		ref += "@" + version
	}
	c := component{Type: kind, Ref: ref, Name: path, Version: version, PURL: ref}
	if id != "" {
		c.Licences = make([]licence, 1)
		c.Licences[0].Licence.ID = id
	}
	return c
}

// licenceOf reads the licence of a module from the module cache.
func licenceOf(path, version string) (string, error) {
	text, err := exec.Command("go", "mod", "download", "-json", path+"@"+version).Output()
	var module struct{ Dir string }
	if err := errors.Join(err, json.Unmarshal(text, &module)); err != nil {
		return "", fmt.Errorf("%s@%s: %w", path, version, err)
	}
	files, err := fs.Glob(os.DirFS(module.Dir), "[Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*")
	if err != nil || len(files) == 0 {
		files, err = fs.Glob(os.DirFS(module.Dir), "COPYING*")
	}
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(module.Dir, name))
		if err != nil {
			return "", err
		}
		if id := identify(string(text)); id != "" {
			return id, nil
		}
	}
	return "", errors.Join(err, fmt.Errorf("%s@%s: no licence that we know", path, version))
}

// marks are words of a licence's text that the others do not have. The order matters: a longer one holds a shorter one.
var marks = []struct {
	id    string
	words []string
}{
	{"Apache-2.0", []string{"apache license", "version 2.0"}},
	{"MPL-2.0", []string{"mozilla public license", "2.0"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "neither the name"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "names of its contributors"}},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms"}},
	{"ISC", []string{"permission to use, copy, modify, and", "distribute this software for any purpose"}},
	{"MIT", []string{"permission is hereby granted, free of charge", "the above copyright notice"}},
	{"CC0-1.0", []string{"cc0 1.0 universal"}},
}

// identify tells the licences of our modules apart; "" for any other.
func identify(text string) string {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
next:
	for _, m := range marks {
		for _, words := range m.words {
			if !strings.Contains(text, words) {
				continue next
			}
		}
		return m.id
	}
	return ""
}
