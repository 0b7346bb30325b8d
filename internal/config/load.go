package config

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/auth/expression"
	"github.com/oncegate/oncegate/internal/units"
	"github.com/oncegate/oncegate/internal/vault"
)

// Result is a document without problems. Warnings are what its writer should know, sorted by place.
type Result struct {
	Document *Document
	Warnings []Located

	file  string
	root  *node
	lines lineIndex
	clean func(string) string
}

// Env looks up an environment variable; os.LookupEnv is one.
type Env func(name string) (string, bool)

// Load reads and parses a file with the variables of this process, and the vaults that it names.
func Load(path string) (*Document, error) { return LoadAgain(path, nil) }

// LoadAgain is Load for a reload: logins at vaults are those of before.
func LoadAgain(path string, before *Outside) (*Document, error) {
	from := Sources{Env: os.LookupEnv}
	if before != nil {
		from.Vaults = before.pool
	}
	result, err := LoadFrom(path, from)
	if err != nil {
		return nil, err
	}
	return result.Document, nil
}

// LoadWith reads and parses a file. The error is an *Error with all problems of its text, or says why it can't be read.
func LoadWith(path string, env Env) (*Result, error) { return LoadFrom(path, Sources{Env: env}) }

// LoadFrom is LoadWith for values from other places than usual. Without a pool of vaults it makes one.
func LoadFrom(path string, from Sources) (*Result, error) {
	if from.Vaults == nil {
		from.Vaults = vault.NewPool()
	}
	text, err := Read(path)
	if err != nil {
		return nil, err
	}
	return parse(path, text, from)
}

// Read gives the text of a document's file, at most one byte more than Parse takes.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("can't read %s: %w", path, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("can't read %s: %w", path, err)
	}
	return text, nil
}

// Parse turns a text into a checked, effective document. name stands for the file in messages. The error is an *Error with
// every problem, sorted by place. Parse reads the files of ${file:...} and nothing else: no vault is asked.
func Parse(name string, text []byte, env Env) (*Result, error) {
	return parse(name, text, Sources{Env: env})
}

func parse(name string, text []byte, from Sources) (*Result, error) {
	source := strings.TrimPrefix(string(text), "\uFEFF")
	r := newReport(name)
	lines := indexLines(source)
	root := parseTree(source, r)
	if root == nil {
		return nil, r.err(lines, keep)
	}
	outside := &Outside{files: map[string]digest{}, vaults: map[string]*vaultUse{}, pool: from.Vaults}
	doc := &Document{outside: outside}
	doc.hidden = substitute(root, r, from, outside)
	d := newDecoder(r)
	d.mapping(root, reflect.ValueOf(doc).Elem(), "")
	examine(doc, root, r)
	clean := newScrubber(root, d.secrets).clean
	if err := r.err(lines, clean); err != nil {
		err.(*Error).Outside = outside
		return nil, err
	}
	list := slices.Concat(warnings(doc, root, name), d.plainly(name), doubtsOf(doc, root, name))
	return &Result{doc, finish(list, lines, clean), name, root, lines, clean}, nil
}

// substitute fills in all ${...}: in vaults first, because the others may need them. It gives what came from vaults and files.
func substitute(root *node, r *report, from Sources, outside *Outside) []string {
	s := &substituter{report: r, env: from.Env, outside: outside}
	if n := root.get("vaults"); n != nil {
		s.walk(n, "vaults")
	}
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	s.vaults = readVaults(ctx, root, from, outside)
	for _, e := range root.entries {
		if e.name != "vaults" {
			s.walk(e.value, e.name)
		}
	}
	return s.hidden
}

func keep(message string) string { return message }

// examine runs the checks that need whole structs, and completes the routes between the two.
func examine(doc *Document, root *node, r *report) {
	alone := units.NewProblems()
	check(reflect.ValueOf(doc).Elem(), alone)
	r.take(root, alone.List())
	if routes := root.get("routes"); routes == nil || len(doc.Routes) != len(routes.items) {
		return
	}
	merge(doc, root)
	together := units.NewProblems()
	c := &cross{
		doc: doc, root: root, compiler: expression.New(),
		fine:      func(path string) bool { return !r.covered(path) },
		fineBelow: func(path string) bool { return !r.below(path) },
	}
	c.check(together)
	r.take(root, together.List())
}

// take adds problems that were found by path, without those that follow from an earlier one.
func (r *report) take(root *node, list []units.Problem) {
	var fresh []units.Problem
	for _, p := range list {
		if !r.covered(p.Path) && !r.otherNumber(p) {
			fresh = append(fresh, p)
		}
	}
	for _, p := range fresh {
		r.add(locate(root, p.Path, p.Place), p.Path, p.Meant, "%s", p.Message)
	}
}

func warnings(doc *Document, root *node, file string) []Located {
	list := append(rewrittenAway(doc, root, file), guessedKeys(doc, root, file)...)
	warn := func(path, message string) {
		at := locate(root, path, units.AtValue)
		list = append(list, Located{File: file, Line: at.line, Column: at.column, Path: path, Message: message})
	}
	if doc.State.Store == "memory" {
		warn("state.store", "records of keyed writes are kept in memory: they are lost at exit, and a write that is repeated then happens twice")
	}
	if t := doc.Listen.TLS; t != nil && t.IdleCA() {
		warn("listen.tls.client_ca", "does nothing without client_auth: optional or require")
	}
	return list
}

// doubtsOf are warnings of what issuers say.
func doubtsOf(doc *Document, root *node, file string) []Located {
	found := units.NewProblems()
	for _, name := range slices.Sorted(maps.Keys(doc.Issuers)) {
		cfg := doc.Issuers[name]
		cfg.Doubts(found.Key("issuers").Key(name))
	}
	return located(found, root, file)
}

func located(found units.Problems, root *node, file string) []Located {
	report := newReport(file)
	report.take(root, found.List())
	return report.list
}
