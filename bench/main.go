// Command bench measures what Oncegate costs, as ratios to a bare fasthttp proxy in the same run. It builds the gateway,
// starts each contestant as a process of its own in front of the same origin, sends the same load to each in interleaved
// rounds, and compares the CPU time that the kernel charged to each process. Absolute times depend on the machine; the
// ratios are what docs/performance.md holds.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "bare" {
		fail(bare(os.Args[2], os.Args[3]))
		return
	}
	requests := flag.Int("requests", 20000, "requests in a round")
	rounds := flag.Int("rounds", 5, "rounds; the median is printed")
	only := flag.String("only", "", "one scenario")
	flag.Parse()
	fail(measure(*requests, *rounds, *only))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(requests, rounds int, only string) error {
	dir, err := os.MkdirTemp("", "oncegate-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, requests: requests, rounds: rounds}
	if b.binary, err = build(dir); err != nil {
		return err
	}
	if b.origin, err = startOrigin(); err != nil {
		return err
	}
	defer b.origin.stop()
	fmt.Printf("%s, %d processors, %d requests a round, median of %d interleaved rounds, 64 connections, 1 KiB answers\n\n",
		runtime.Version(), runtime.NumCPU(), requests, rounds)
	for _, s := range scenarios() {
		if only != "" && only != s.name {
			continue
		}
		if err := b.run(s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if only == "" || only == "bodies" {
		if err := b.bodies(); err != nil {
			return fmt.Errorf("bodies: %w", err)
		}
	}
	if only == "" || only == "load-routes" {
		return b.loadRoutes()
	}
	return nil
}

func build(dir string) (string, error) {
	binary := filepath.Join(dir, "gateway")
	return binary, command("go", "build", "-trimpath", "-o", binary, "./cmd/gateway").Run()
}
