// Package internal_test holds the tests of the structure itself.
package internal_test

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/oncegate/oncegate/"

// floors is the picture of docs/architecture.md: a package imports lower floors only, and its own sub-packages.
var floors = map[string]int{
	"internal/pipeline": 0, "internal/wire": 0, "internal/answer": 0, "internal/units": 0,
	"internal/failpoint": 0, "internal/mutant": 0, "internal/redistest": 0, "internal/redisconn": 0, "internal/sockio": 0,
	"internal/edge": 1, "internal/routes": 1, "internal/auth": 1, "internal/ratelimit": 1, "internal/dedup": 1,
	"internal/breaker": 1, "internal/bulkhead": 1, "internal/retry": 1, "internal/traffic": 1, "internal/rewrite": 1, "internal/flags": 1, "internal/lifecycle": 1, "internal/upstream": 1, "internal/observe": 1, "internal/shed": 1,
	"internal/cors": 1, "internal/access": 1, "internal/headers": 1, "internal/websocket": 1, "internal/vault": 1,
	"internal/config":  2,
	"internal/gateway": 3,
	"internal/admin":   4,
	"cmd/gateway":      5,
	"bench":            6, "e2e": 6, "chaos": 6, "fleet": 6, "resilience": 6, "scripts": 6, // commands and tests around the product
}

// folder gives the package of the picture that a path belongs to: internal/edge/h1 is part of internal/edge.
func folder(path string) string {
	parts := strings.Split(path, "/")
	if parts[0] != "internal" && parts[0] != "cmd" {
		return parts[0]
	}
	if len(parts) < 2 {
		return path
	}
	return parts[0] + "/" + parts[1]
}

func TestImportsGoDownTheFloors(t *testing.T) {
	eachGoFile(t, func(path string, src []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		from := folder(filepath.ToSlash(filepath.Dir(path)))
		floor, known := floors[from]
		if !known {
			t.Errorf("%s: package %s has no floor", path, from)
			return
		}
		for _, imp := range file.Imports {
			name, _ := strconv.Unquote(imp.Path.Value)
			rel, ours := strings.CutPrefix(name, module)
			if !ours || folder(rel) == from {
				continue
			}
			if target, ok := floors[folder(rel)]; !ok || target >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d)", path, floor, rel, target)
			}
		}
	})
}

func TestOnlyTheEdgeAndTheAdminPortKnowFiber(t *testing.T) {
	eachGoFile(t, func(path string, src []byte) {
		file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		from := folder(filepath.ToSlash(filepath.Dir(path)))
		for _, imp := range file.Imports {
			if strings.HasPrefix(imp.Path.Value, `"github.com/gofiber/fiber/`) && from != "internal/edge" && from != "internal/admin" {
				t.Errorf("%s imports Fiber", path)
			}
		}
	})
}

func TestNoFileIsLong(t *testing.T) {
	eachGoFile(t, func(path string, src []byte) {
		if n := bytes.Count(src, []byte("\n")); n > 400 {
			t.Errorf("%s has %d lines, more than 400", path, n)
		}
	})
}

func TestTheSixFilesOfTheTourAreShort(t *testing.T) {
	tour := []string{"gateway.yaml", "internal/pipeline/pipeline.go", "internal/gateway/stack.go", "internal/gateway/snapshot.go"}
	for _, dir := range []string{"internal/ratelimit", "internal/edge/h1"} {
		files, _ := filepath.Glob(filepath.Join("..", dir, "*.go"))
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				tour = append(tour, strings.TrimPrefix(filepath.ToSlash(f), "../"))
			}
		}
	}
	for _, path := range tour {
		src, err := os.ReadFile(filepath.Join("..", path))
		if err != nil {
			t.Error(err)
			continue
		}
		if n := bytes.Count(src, []byte("\n")); n > 250 {
			t.Errorf("%s has %d lines, more than 250", path, n)
		}
	}
}

// Fiber v2 alone requires a fasthttp of 2023 that desyncs, and no scanner knows: its project asks for no advisories. Routes of
// Fiber before 2.52.12 overflow.
func TestFasthttpFloor(t *testing.T) {
	required(t, "github.com/valyala/fasthttp", 1, 77, 0)
	required(t, "github.com/gofiber/fiber/v2", 2, 52, 12)
}

// required wants a module in go.mod, directly, in this version or a newer one of the same major.
func required(t *testing.T, module string, floor ...int) {
	t.Helper()
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mod), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != module {
			continue
		}
		if strings.Contains(line, "// indirect") {
			t.Errorf("%s is not required directly", module)
		}
		var version [3]int
		if n, err := fmt.Sscanf(fields[1], "v%d.%d.%d", &version[0], &version[1], &version[2]); n != 3 || err != nil || version[0] != floor[0] || slices.Compare(version[:], floor) < 0 {
			t.Errorf("%s %s is not in or above %v", module, fields[1], floor)
		}
		return
	}
	t.Errorf("%s is not required", module)
}

func eachGoFile(t *testing.T, f func(path string, src []byte)) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "data" || d.Name() == "dist") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		f(strings.TrimPrefix(filepath.ToSlash(path), "../"), src)
		return nil
	})
	if err != nil || seen == 0 {
		t.Fatalf("%d files seen: %v", seen, err)
	}
}
