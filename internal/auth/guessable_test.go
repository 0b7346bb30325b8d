package auth

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// A key that anybody guesses serves, and the log says so by its id.
func TestGuessableKeys(t *testing.T) {
	for text, want := range map[string]bool{
		"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08": true, strings.ToUpper(hashOf("password")): true, hashOf(""): true,
		hashOf("right"): false, "test": false, "": false,
	} {
		if Guessable(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
	log := &bytes.Buffer{}
	two := keyRow("two", "right")
	two.SHA256 = append(two.SHA256, hashOf("secret"))
	a, err := NewAuthority(nil, nil, Deps{APIKeys: partners(keyRow("acme", "test"), keyRow("other", "unknown"), two), Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "key=acme") || !strings.Contains(got, "key=two") || !strings.Contains(got, "level=WARN") {
		t.Errorf("the log says %s", got)
	}
	m, err := newRoute(t, a, Config{APIKeys: []string{"partners"}}, ForwardConfig{}).send("X-Api-Key", "test")
	if err != nil || m.Client.Subject != "acme" {
		t.Errorf("%v %v", err, m.Client)
	}
}
