package chaos

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var builds *Builds

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if path := os.Getenv(LedgerEnv); path != "" {
		if err := ServeLedger(path); err != nil {
			fmt.Fprintln(os.Stderr, "ledger:", err)
			return 1
		}
		return 0
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "10") // cells mostly wait
	dir, err := os.MkdirTemp("", "oncegate-chaos-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	builds = NewBuilds(dir)
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func binary(t testing.TB, tags string) string {
	t.Helper()
	path, err := builds.Binary(tags)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// seedOf is the run's seed for a cell: ONCEGATE_CHAOS_SEED, or the time.
func seedOf(t testing.TB, name string) uint64 {
	t.Helper()
	if s := os.Getenv("ONCEGATE_CHAOS_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64() ^ uint64(time.Now().UnixNano())
}

// play runs a cell and judges it; what it left is kept when it fails.
func play(t *testing.T, cell Cell) Outcome {
	t.Helper()
	seed := seedOf(t, cell.Name())
	dir, err := os.MkdirTemp("", "oncegate-cell-")
	if err != nil {
		t.Fatal(err)
	}
	out, err := RunCell(t, binary(t, strings.TrimSpace("failpoint "+cell.Tags)), cell, seed, dir)
	if err == nil && len(out.Verdict.Violations) == 0 {
		out.Forget()
		return out
	}
	for i, v := range out.Verdict.Violations {
		if i == 20 {
			t.Errorf("and %d more", len(out.Verdict.Violations)-i)
			break
		}
		t.Error(v)
	}
	if err != nil {
		t.Error(err)
	}
	t.Errorf("replay with ONCEGATE_CHAOS_CELL='%s' ONCEGATE_CHAOS_SEED=%d; history, ledger and logs are kept in %s", cell.Name(), seed, dir)
	return out
}

// chosen are the cells of the mode: the short ones, the full matrix, as many of that as ONCEGATE_CHAOS_SAMPLE says, or the one
// that ONCEGATE_CHAOS_CELL names.
func chosen(t *testing.T) []Cell {
	t.Helper()
	sample, _ := strconv.Atoi(os.Getenv("ONCEGATE_CHAOS_SAMPLE"))
	switch name := os.Getenv("ONCEGATE_CHAOS_CELL"); {
	case name != "":
		return named(t, name)
	case sample > 0:
		cells := FullCells()
		rand.Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
		return cells[:min(sample, len(cells))]
	case os.Getenv("ONCEGATE_CHAOS") == "full":
		return FullCells()
	}
	return ShortCells()
}

// TestChaos plays the cells of the mode and prints what they came to.
func TestChaos(t *testing.T) {
	t.Parallel() // beside the mutants: both mostly wait
	cells := chosen(t)
	var mu sync.Mutex
	var table Summary
	t.Run("cells", func(t *testing.T) {
		for _, cell := range cells {
			t.Run(cell.Name(), func(t *testing.T) {
				t.Parallel()
				out := play(t, cell)
				mu.Lock()
				defer mu.Unlock()
				table.Add(out)
			})
		}
	})
	for _, cell := range cells { // on a busy machine a gateway may have been started too seldom to come by its place
		if cell.Point != "" && slices.Contains(table.Unreached(), cell.Topology.Name+" "+cell.Point) {
			t.Run("again/"+cell.Name(), func(t *testing.T) { table.Add(play(t, cell)) })
		}
	}
	t.Logf("\n%s", table.String())
	if never := table.Unreached(); len(never) > 0 && len(cells) >= len(ShortCells()) {
		t.Errorf("no gateway ended at %s: nothing is proved of what a kill there does", strings.Join(never, ", "))
	}
}

// TestChaosFailovers takes as many failovers of each kind of fleet as ONCEGATE_CHAOS_FAILOVERS says. A fleet without waits has to
// lose something, within what is computed beforehand: a harness that finds no loss there is broken.
func TestChaosFailovers(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("ONCEGATE_CHAOS_FAILOVERS"))
	if n == 0 {
		t.Skip("ONCEGATE_CHAOS_FAILOVERS says none")
	}
	table := Summary{}
	for _, cell := range FailoverCells(n) { // one after the other: a failover is a matter of time
		t.Run(cell.Name(), func(t *testing.T) { table.Add(play(t, cell)) })
	}
	t.Logf("\n%s", table.String())
	if lost, failovers := table.Losses("sentinel"); failovers >= 20 && lost == 0 {
		t.Errorf("nothing was lost in %d failovers without waits", failovers)
	}
}

func named(t *testing.T, name string) (cells []Cell) {
	t.Helper()
	for _, c := range slices.Concat(ShortCells(), FullCells(), FailoverCells(1000)) {
		if c.Name() == name {
			return []Cell{c}
		}
	}
	t.Fatalf("there is no cell %q", name)
	return nil
}

// TestChaosKept checks a folder again that a failed cell left: ONCEGATE_CHAOS_KEPT.
func TestChaosKept(t *testing.T) {
	dir := os.Getenv("ONCEGATE_CHAOS_KEPT")
	if dir == "" {
		t.Skip("ONCEGATE_CHAOS_KEPT names no folder")
	}
	run := Run{}
	var err error
	if run.Calls, run.Faults, err = ReadHistory(filepath.Join(dir, "history.jsonl")); err != nil {
		t.Fatal(err)
	}
	if run.Ledger, err = ReadLedger(filepath.Join(dir, "ledger.jsonl")); err != nil {
		t.Fatal(err)
	}
	for _, v := range Check(run).Violations {
		t.Error(v)
	}
}
