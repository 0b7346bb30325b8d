// Package vaulttest is a server that speaks as much of Vault's HTTP API as the gateway uses: version 2 of the key-value
// engine, logins, and the renewal of tokens. It is for tests only and keeps everything in memory.
package vaulttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// Server is an http.Handler. The zero value knows no token and holds nothing.
type Server struct {
	mu      sync.Mutex
	secrets map[string]map[string]any // by namespace, mount and path
	deleted map[string]bool
	tokens  map[string]bool
	logins  map[string]string // body of a login, by its path: the token it gives
	lease   int
	answer  func(w http.ResponseWriter) bool
	seen    []string
}

// New makes a server that takes the token root.
func New() *Server {
	return &Server{
		secrets: map[string]map[string]any{}, deleted: map[string]bool{}, tokens: map[string]bool{"root": true}, logins: map[string]string{}, lease: 3600,
	}
}

// Put writes a secret: place is mount/path, with a namespace before it when there is one.
func (s *Server) Put(place string, fields map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[place] = fields
	delete(s.deleted, place)
}

// Delete deletes the newest version of a secret.
func (s *Server) Delete(place string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted[place] = true
}

// Login lets a body of JSON in at auth/<method>/login, with tokens that last lease seconds.
func (s *Server) Login(method string, body map[string]string, lease int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, _ := json.Marshal(body)
	s.logins["auth/"+method+"/login"], s.lease = string(text), lease
}

// Revoke forgets all tokens but those that it names.
func (s *Server) Revoke(but ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = map[string]bool{}
	for _, token := range but {
		s.tokens[token] = true
	}
}

// Answer takes the place of all answers while it gives true; nil ends that.
func (s *Server) Answer(with func(w http.ResponseWriter) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = with
}

// Seen counts requests whose method and path begin with what is given.
func (s *Server) Seen(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.seen {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, inside := strings.CutPrefix(r.URL.Path, "/v1/")
	s.seen = append(s.seen, r.Method+" "+path)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case s.answer != nil && s.answer(w):
	case !inside:
		refuse(w, 404)
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/login"):
		s.login(w, r, path)
	case !s.tokens[r.Header.Get("X-Vault-Token")]:
		refuse(w, 403)
	case r.Method == http.MethodPost && path == "auth/token/renew-self":
		if r.Header.Get("X-Vault-Token") == "root" { // root tokens have no lease
			refuse(w, 400)
			return
		}
		fmt.Fprintf(w, `{"auth":{"client_token":%q,"lease_duration":%d,"renewable":true}}`, r.Header.Get("X-Vault-Token"), s.lease)
	case r.Method == http.MethodGet:
		s.read(w, r.Header.Get("X-Vault-Namespace"), path)
	default:
		refuse(w, 405)
	}
}

func (s *Server) login(w http.ResponseWriter, r *http.Request, path string) {
	var body map[string]string
	_ = json.NewDecoder(r.Body).Decode(&body)
	text, _ := json.Marshal(body)
	if want, there := s.logins[path]; !there || want != string(text) {
		refuse(w, 400)
		return
	}
	token := fmt.Sprintf("login-%d", len(s.seen))
	s.tokens[token] = true
	fmt.Fprintf(w, `{"auth":{"client_token":%q,"lease_duration":%d,"renewable":true}}`, token, s.lease)
}

func (s *Server) read(w http.ResponseWriter, namespace, path string) {
	mount, rest, ok := strings.Cut(path, "/data/")
	place := mount + "/" + rest
	if namespace != "" {
		place = namespace + "/" + place
	}
	fields, there := s.secrets[place]
	switch {
	case !ok || !there:
		refuse(w, 404)
	case s.deleted[place]:
		w.WriteHeader(404)
		fmt.Fprint(w, `{"data":{"data":null,"metadata":{"deletion_time":"2026-11-23T10:00:00Z","destroyed":false,"version":2}}}`)
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"data": fields, "metadata": map[string]any{"version": 1}}})
	}
}

func refuse(w http.ResponseWriter, status int) {
	w.WriteHeader(status)
	fmt.Fprint(w, `{"errors":["refused"]}`)
}
