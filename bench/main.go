// Command bench measures what Oncegate costs, as ratios in one run. It builds the gateway and starts it as a process of its
// own, beside what it is compared with, in interleaved rounds: absolute figures depend on the machine; the ratios are what
// docs/performance.md holds.
//
// identity times the auth layer in this process against the bare check of a signature, and a flood of forged tokens from one
// address with and without its budget. plain, chain, post and routes send the same load to the gateway and to a bare fasthttp proxy, and compare the CPU time that
// the kernel charged to each; http2 does so with HTTP/2 and the standard library's ReverseProxy. bodies and load-routes look at memory and at start-up; idle holds connections open and
// looks at their memory and at what other clients wait beside them. keyed counts durable keyed writes on the
// embedded store against Pebble alone, and their latency against the same POST without dedup and the disk's own sync;
// keyed-redis does so on Redis against a client that does nothing but two calls of a small script, and counts what Redis was
// asked. layers times what stands before an upstream, in the benchmark's own process. storm sends 10,000 duplicates of one key within a second.
// http2-tls and grpc do as http2 does; websockets holds 10,000 of them and looks at memory.
//
// The folder of the run must be on a disk for keyed and keyed-redis: see -dir. What is not installed is left out, and said.
package main

import (
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
)

func main() {
	if len(os.Args) > 2 && contestantMode(os.Args[1], os.Args[2:]) {
		return
	}
	b := &bench{}
	flag.IntVar(&b.requests, "requests", 20000, "requests in a round")
	flag.IntVar(&b.writes, "writes", 10000, "keyed writes in a round")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds; the median is printed")
	flag.IntVar(&b.connections, "connections", 10000, "idle connections that idle holds; each takes a descriptor here and one in the gateway")
	only := flag.String("only", "", "one scenario: "+names(b.parts()))
	flag.Func("against", "another build of the gateway to send the same load to; may be given more than once", func(path string) error {
		b.against = append(b.against, path)
		_, err := os.Stat(path)
		return err
	})
	parent := flag.String("dir", "", "where to make the folder of the run; by default the first on a disk of the temporary folder, /var/tmp and the working folder")
	flag.Parse()
	fail(b.measure(*only, *parent))
}

// contestantMode runs this binary as what the gateway is compared with, or stands in front of.
func contestantMode(name string, args []string) bool {
	switch name {
	case "bare":
		fail(bare(args[0], args[1]))
	case "reverse":
		fail(reverse(args[0], args[1], args[2]))
	case "callee":
		fail(callee(args[0]))
	case "echo":
		fail(echo(args[0]))
	default:
		return false
	}
	return true
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// part is one section of the report.
type part struct {
	name string
	run  func() error
}

func (b *bench) parts() []part {
	all := []part{{"websockets", b.sockets}}
	for _, s := range scenarios() {
		all = append(all, part{s.name, func() error { return b.run(s) }})
	}
	return append(all, part{"identity", b.identity}, part{"layers", b.layers}, part{"bodies", b.bodies}, part{"load-routes", b.loadRoutes}, part{"idle", b.idle},
		part{"keyed", b.keyed}, part{"keyed-redis", b.keyedRedis}, part{"storm", b.storm})
}

func names(parts []part) (text string) {
	for _, p := range parts {
		text += p.name + " "
	}
	return text
}

func (b *bench) measure(only, parent string) (err error) {
	if b.dir, err = folder(parent); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.binary, err = build(b.dir); err != nil {
		return err
	}
	if b.origin, err = startOrigin(); err != nil {
		return err
	}
	defer b.origin.stop()
	defer func() {
		if b.callee != nil {
			b.callee.stop()
		}
	}()
	fmt.Printf("%s, %d processors, %d requests or %d keyed writes a round, median of %d interleaved rounds, 64 connections, 1 KiB answers unless said\n\n",
		runtime.Version(), runtime.NumCPU(), b.requests, b.writes, b.rounds)
	known := false
	for _, p := range b.parts() {
		if only != "" && only != p.name {
			continue
		}
		known = true
		if err := p.run(); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if !known {
		return fmt.Errorf("%q is none of %s", only, names(b.parts()))
	}
	return nil
}

func build(dir string) (string, error) {
	binary := filepath.Join(dir, "gateway")
	return binary, command("go", "build", "-trimpath", "-o", binary, "./cmd/gateway").Run()
}

// bench is one run.
type bench struct {
	dir, binary              string
	origin                   *origin
	requests, writes, rounds int
	connections              int          // that idle holds
	keys                     atomic.Int64 // Idempotency-Keys given out

	against []string // other builds to send the same load to
	callee  *process // the service behind gRPC; nil: not started yet
}

// noise is bytes that can't be compressed: what a disk is given must cost what it seems to.
func noise(n int) []byte {
	p := make([]byte, n)
	rand.Read(p)
	return p
}
