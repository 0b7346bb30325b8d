// Command vuln runs govulncheck over the gateway and judges what it finds.
//
// It promises to fail when our code reaches a function with a known hole that accepted.txt does not name. Which database
// it asks is printed: the one that ONCEGATE_VULNDB names, else the public one, else only the advisories of this folder,
// about holes that no public database has. With ONCEGATE_VULN=strict the last is a failure, as before a release.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	tool   = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"
	public = "https://vuln.go.dev"
	old    = 30 * 24 * time.Hour // from this age on a database is said to be old
)

func main() {
	folder := flag.String("C", ".", "the module to scan")
	own := flag.String("advisories", "scripts/vuln/advisories", "folder of our own advisories")
	list := flag.String("accepted", "scripts/vuln/accepted.txt", "what was looked at and accepted")
	flag.Parse()
	if err := scan(*folder, *own, *list); err != nil {
		fmt.Fprintln(os.Stderr, "vuln:", err)
		os.Exit(1)
	}
}

func scan(folder, own, list string) error {
	accepted, err := readAccepted(list, time.Now())
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "oncegate-vuln-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	ours, err := database(own, filepath.Join(work, "own"))
	if err != nil {
		return err
	}
	if err := ask(folder, ours, accepted, false); err != nil {
		return err
	}
	theirs, err := wellKnown(filepath.Join(work, "public"))
	switch {
	case err == nil:
		return ask(folder, theirs, accepted, true)
	case os.Getenv("ONCEGATE_VULN") == "strict" || os.Getenv("ONCEGATE_VULNDB") != "":
		return err
	default:
		fmt.Printf("vuln: WARNING: %v: only the advisories of %s were checked\n", err, own)
	}
	return nil
}

// wellKnown is the address of a database of public advisories.
func wellKnown(work string) (string, error) {
	if given := os.Getenv("ONCEGATE_VULNDB"); given != "" {
		if strings.Contains(given, "://") {
			return given, nil
		}
		return database(given, work)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, public+"/index/db.json", nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", errors.New("the public database of advisories does not answer")
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the public database of advisories answers %d", answer.StatusCode)
	}
	return public, nil
}

// ask runs govulncheck with one database; one that is aging is said to be old when it is.
func ask(folder, db string, accepted map[string]string, aging bool) error {
	begun := time.Now()
	c := exec.Command("go", "run", tool, "-format", "json", "-db", db, "./...")
	c.Dir, c.Stderr = folder, os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	found, errRead := read(out)
	if err := errors.Join(errRead, c.Wait()); err != nil {
		return fmt.Errorf("govulncheck: %w", err)
	}
	fmt.Printf("vuln: %s (of %s), %d advisories on our modules, %s\n", db, found.modified.Format(time.DateOnly), found.advisories, time.Since(begun).Round(time.Second))
	if age := time.Since(found.modified); aging && age > old {
		fmt.Printf("vuln: WARNING: this database is %d days old\n", age/(24*time.Hour))
	}
	return found.judge(os.Stdout, accepted)
}
