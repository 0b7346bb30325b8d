package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/oncegate/oncegate/internal/observe"
)

// Set by the linker.
var (
	version = "dev"
	commit  = "unknown"
)

// build is what the binary says of itself.
func build() observe.BuildInfo {
	return observe.BuildInfo{Version: version, Commit: commit, Go: runtime.Version(),
		Fasthttp: dependency("github.com/valyala/fasthttp"), Fiber: dependency("github.com/gofiber/fiber/v2")}
}

func dependency(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, d := range info.Deps {
		if d.Path == path {
			if d.Replace != nil {
				return d.Replace.Version
			}
			return d.Version
		}
	}
	return "unknown"
}

func printVersion(t terminal, args []string) int {
	if code, ok := parse(t, flags(t, "version"), args); !ok {
		return code
	}
	b := build()
	_, err := fmt.Fprintf(t.out, "oncegate %s (commit %s)\n%s %s/%s\nfasthttp %s\nfiber %s\n",
		b.Version, b.Commit, b.Go, runtime.GOOS, runtime.GOARCH, b.Fasthttp, b.Fiber)
	return exitOn(t, err)
}
