// Package sample is what make demo puts behind the gateway: an orders and a payments service with switches for slow, failing
// and crashing answers, and an issuer with a key set. It is for trying things out and promises nothing else.
package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Service is a sample service. It counts what it executes, so that a retry that executed twice could be seen.
type Service struct {
	name string
	mode atomic.Value // string: normal, slow, failing, crashing
	n    atomic.Int64

	mu   sync.Mutex
	made []string // ids, newest last, at most 1000
}

// New makes a service in normal mode.
func New(name string) *Service {
	s := &Service{name: name}
	s.mode.Store("normal")
	return s
}

// Handler serves the service. POST /mode/{normal|slow|failing|crashing} on the service's own port switches it.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mode/{mode}", s.switchMode)
	mux.HandleFunc("GET /executions", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, map[string]any{"executions": s.n.Load()}) })
	mux.HandleFunc("/", s.work)
	return mux
}

func (s *Service) switchMode(w http.ResponseWriter, r *http.Request) {
	mode := r.PathValue("mode")
	switch mode {
	case "normal", "slow", "failing", "crashing":
		s.mode.Store(mode)
		reply(w, 200, map[string]any{"service": s.name, "mode": mode})
	default:
		reply(w, 400, map[string]any{"error": "mode is normal, slow, failing or crashing"})
	}
}

func (s *Service) work(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	switch s.mode.Load() {
	case "slow":
		select {
		case <-time.After(3 * time.Second):
		case <-r.Context().Done():
			return
		}
	case "failing":
		reply(w, 500, map[string]any{"error": s.name + " is failing"})
		return
	case "crashing":
		panic(http.ErrAbortHandler) // the connection dies without an answer
	}
	if r.Method != http.MethodPost {
		reply(w, 200, map[string]any{"service": s.name, "path": r.URL.Path, "user": r.Header.Get("X-User-Id"), "executions": s.n.Load()})
		return
	}
	id := fmt.Sprintf("%s-%d", s.name, s.n.Add(1))
	s.remember(id)
	w.Header().Set("Location", r.URL.Path+"/"+id)
	reply(w, 201, map[string]any{"id": id, "bytes": len(body), "user": r.Header.Get("X-User-Id")})
}

func (s *Service) remember(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made = append(s.made, id); len(s.made) > 1000 {
		s.made = s.made[1:]
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have left
}

// Serve answers on address until ctx ends.
func Serve(ctx context.Context, address string, h http.Handler) (stopped <-chan error, err error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ErrorLog: nil}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Shutdown(last)
		_ = server.Close()
	}()
	go func() {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			done <- err
		}
		close(done)
	}()
	return done, nil
}
