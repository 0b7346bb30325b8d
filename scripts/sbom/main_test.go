package main

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

// TestEveryModuleOfTheBinaryIsListed builds the gateway and compares the list with what go version -m says of it.
func TestEveryModuleOfTheBinaryIsListed(t *testing.T) {
	dir := t.TempDir()
	binary, out := filepath.Join(dir, "gateway"), filepath.Join(dir, "dist", "sbom.cdx.json")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "../../cmd/gateway")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if err := run(binary, out, "v9.9.9"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var list bom
	if err := json.Unmarshal(text, &list); err != nil || list.Format != "CycloneDX" || list.Metadata.Component.Version != "v9.9.9" {
		t.Fatalf("%v: %+v", err, list.Metadata)
	}
	listed := map[string]string{}
	for _, c := range list.Components {
		if len(c.Licences) != 1 || c.Licences[0].Licence.ID == "" {
			t.Errorf("%s has no licence", c.Name)
		}
		listed[c.PURL] = c.Name
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Deps) < 20 || len(list.Components) != len(info.Deps)+1 || len(list.Dependencies[0].DependsOn) != len(list.Components) {
		t.Errorf("%d modules, %d of them listed", len(info.Deps), len(list.Components))
	}
	for _, m := range info.Deps {
		if listed["pkg:golang/"+m.Path+"@"+m.Version] == "" {
			t.Errorf("%s is not listed", m.Path)
		}
	}
	if listed["pkg:golang/std@"+strings.TrimPrefix(info.GoVersion, "go")] == "" {
		t.Error("the standard library is not listed")
	}
	if err := run(binary, filepath.Join(dir, "again.json"), "v9.9.9"); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(filepath.Join(dir, "again.json")); string(again) != string(text) {
		t.Error("the same binary gave another list")
	}
}

func TestUnknownLicenceIsAnError(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.0", Deps: []*debug.Module{{Path: "a.test/old", Version: "v1.0.0", Replace: &debug.Module{Path: "a.test/new", Version: "v2.0.0"}}}}
	list, err := describe(info, func(path, version string) (string, error) { return "MIT", nil })
	if err != nil || list.Components[1].PURL != "pkg:golang/a.test/new@v2.0.0" {
		t.Errorf("%v: %+v", err, list.Components)
	}
	if _, err := describe(info, func(string, string) (string, error) { return "", errors.New("none") }); err == nil {
		t.Error("a module without a licence was taken")
	}
	for text, want := range map[string]string{
		"GNU General Public License, version 3":                                                   "",
		"Apache License\n   Version 2.0, January 2004":                                            "Apache-2.0",
		"Permission is hereby granted, free of charge, to any person\nThe above copyright notice": "MIT",
		"Redistribution and use in source and binary forms ... Neither the name of":               "BSD-3-Clause",
		"Redistribution and use in source\n// and binary forms":                                   "",
		"": "",
	} {
		if got := identify(text); got != want {
			t.Errorf("%q is %q, wanted %q", text, got, want)
		}
	}
}
