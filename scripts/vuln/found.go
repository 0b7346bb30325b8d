package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// found is what govulncheck said.
type found struct {
	modified   time.Time
	advisories int
	reached    map[string]string // advisory: how our code gets there
}

// message is one of the stream that govulncheck -format json writes.
type message struct {
	Config *struct {
		Modified *time.Time `json:"db_last_modified"`
	} `json:"config"`
	OSV     *struct{} `json:"osv"`
	Finding *struct {
		OSV   string  `json:"osv"`
		Fixed string  `json:"fixed_version"`
		Trace []frame `json:"trace"`
	} `json:"finding"`
}

type frame struct {
	Module, Version, Package, Receiver, Function string
}

func (f frame) String() string {
	if f.Receiver != "" {
		return f.Package + "." + f.Receiver + "." + f.Function
	}
	return f.Package + "." + f.Function
}

// read takes the stream. A finding without a function is about a module that is there but not reached.
func read(r io.Reader) (found, error) {
	f := found{reached: map[string]string{}}
	stream := json.NewDecoder(bufio.NewReader(r))
	configured := false
	for {
		var m message
		switch err := stream.Decode(&m); {
		case errors.Is(err, io.EOF) && configured:
			return f, nil
		case err != nil:
			return f, fmt.Errorf("its output: %w", err)
		}
		configured = configured || m.Config != nil
		if m.Config != nil && m.Config.Modified != nil {
			f.modified = *m.Config.Modified
		}
		if m.OSV != nil {
			f.advisories++
		}
		if g := m.Finding; g != nil && len(g.Trace) > 0 && g.Trace[0].Function != "" {
			f.reached[g.OSV] = fmt.Sprintf("%s@%s (fixed in %s): %s is reached from %s",
				g.Trace[0].Module, g.Trace[0].Version, orNothing(g.Fixed), g.Trace[0], g.Trace[len(g.Trace)-1])
		}
	}
}

func orNothing(version string) string {
	if version == "" {
		return "no version"
	}
	return version
}

// judge prints what is reached; the error is nil when all of it was accepted.
func (f found) judge(w io.Writer, accepted map[string]string) error {
	open := 0
	for _, id := range slices.Sorted(maps.Keys(f.reached)) {
		if why, ok := accepted[id]; ok {
			fmt.Fprintf(w, "vuln: accepted: %s %s: %s\n", id, f.reached[id], why)
			continue
		}
		open++
		fmt.Fprintf(w, "vuln: %s %s\n", id, f.reached[id])
	}
	if open > 0 {
		return fmt.Errorf("%d advisories reach our code", open)
	}
	return nil
}

// readAccepted reads lines of an advisory's id, the last day on which it counts, and the reason. A day that is over is an
// error: what was accepted has to be looked at again.
func readAccepted(file string, now time.Time) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	accepted := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		parts := strings.SplitN(line, " ", 3)
		if len(parts) < 3 {
			return nil, fmt.Errorf("%s: %q is not an id, a day and a reason", file, line)
		}
		until, err := time.Parse(time.DateOnly, parts[1])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if now.After(until.AddDate(0, 0, 1)) {
			return nil, fmt.Errorf("%s: %s was accepted until %s: look at it again", file, parts[0], parts[1])
		}
		accepted[parts[0]] = parts[2]
	}
	return accepted, nil
}
