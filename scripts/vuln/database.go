package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// advisory is as much of an OSV document as the indexes need.
type advisory struct {
	ID       string    `json:"id"`
	Modified time.Time `json:"modified"` // nothing, in a clone
	Aliases  []string  `json:"aliases,omitempty"`
	Affected []struct {
		Package struct {
			Name string `json:"name"`
		} `json:"package"`
		Ranges []struct {
			Events []struct {
				Fixed string `json:"fixed"`
			} `json:"events"`
		} `json:"ranges"`
	} `json:"affected"`
}

type indexed struct {
	ID       string    `json:"id"`
	Modified time.Time `json:"modified"`
	Fixed    string    `json:"fixed,omitempty"`
	Aliases  []string  `json:"aliases,omitempty"`
}

type module struct {
	Path  string    `json:"path"`
	Vulns []indexed `json:"vulns"`
}

// database makes a database as govulncheck reads it (go.dev/security/vuln/database) from a folder of OSV documents, or
// from a clone of the public one, and gives its file:// address. A folder that is a database already is left as it is.
func database(from, to string) (string, error) {
	if _, err := os.Stat(filepath.Join(from, "index", "modules.json")); err == nil {
		return address(from)
	}
	if inner := filepath.Join(from, "data", "osv"); isFolder(inner) {
		from = inner
	}
	files, err := filepath.Glob(filepath.Join(from, "*.json"))
	if err != nil || len(files) == 0 {
		return "", errors.Join(err, fmt.Errorf("%s holds no advisories", from))
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(to, "index"), 0o755), os.MkdirAll(filepath.Join(to, "ID"), 0o755)); err != nil {
		return "", err
	}
	var newest time.Time
	modules, vulns := map[string]*module{}, []indexed{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		var a advisory
		if err := json.Unmarshal(text, &a); err != nil || a.ID == "" {
			return "", fmt.Errorf("%s is not an advisory: %w", file, err)
		}
		if err := os.WriteFile(filepath.Join(to, "ID", a.ID+".json"), text, 0o600); err != nil {
			return "", err
		}
		if at := dated(a.Modified, file); newest.Before(at) {
			newest = at
		}
		vulns = append(vulns, indexed{ID: a.ID, Modified: a.Modified, Aliases: a.Aliases})
		a.index(modules)
	}
	list := make([]*module, 0, len(modules))
	for _, m := range modules {
		list = append(list, m)
	}
	err = errors.Join(write(to, "db", map[string]time.Time{"modified": newest}), write(to, "modules", list), write(to, "vulns", vulns))
	if err != nil {
		return "", err
	}
	return address(to)
}

// dated is when an advisory was written; of a clone, which doesn't say, when its file was.
func dated(modified time.Time, file string) time.Time {
	if info, err := os.Stat(file); err == nil && modified.Year() < 2000 {
		return info.ModTime()
	}
	return modified
}

// index adds the advisory to its modules.
func (a *advisory) index(modules map[string]*module) {
	seen := map[string]bool{}
	for _, affected := range a.Affected {
		name := affected.Package.Name
		if seen[name] {
			continue
		}
		seen[name] = true
		if modules[name] == nil {
			modules[name] = &module{Path: name}
		}
		one := indexed{ID: a.ID, Modified: a.Modified}
		for _, r := range affected.Ranges {
			for _, e := range r.Events {
				if e.Fixed != "" {
					one.Fixed = e.Fixed
				}
			}
		}
		modules[name].Vulns = append(modules[name].Vulns, one)
	}
}

func write(to, name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, "index", name+".json"), text, 0o600)
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func address(folder string) (string, error) {
	path, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix((&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String(), "/"), nil
}
