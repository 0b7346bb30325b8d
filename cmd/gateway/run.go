package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/oncegate/oncegate/internal/admin"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/edge/h1"
	"github.com/oncegate/oncegate/internal/gateway"
	"github.com/oncegate/oncegate/internal/observe"
)

func run(t terminal, args []string) int {
	set := flags(t, "run")
	path := configFlag(set)
	if code, ok := parse(set, args); !ok {
		return code
	}
	doc, ok := load(t, *path)
	if !ok {
		return exitBad
	}
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(stop)
	s, err := start(t, *path, doc)
	if err != nil {
		return exitOn(t, err)
	}
	return s.wait(stop)
}

// server is a running gateway with everything that has to end with it.
type server struct {
	doc      *config.Document
	logger   *slog.Logger
	access   *observe.AccessLog
	state    *gateway.State
	gateway  *gateway.Gateway
	edge     *h1.Edge
	admin    *admin.Server
	cancel   context.CancelFunc
	failures chan error // a port that stops serving by itself
	watched  chan struct{}
}

// start brings everything up in the order of need: ports first, so that a taken one is said before the store is opened.
func start(t terminal, path string, doc *config.Document) (*server, error) {
	port, err := edge.Listen(doc.Listen)
	if err != nil {
		return nil, err
	}
	adminPort, err := net.Listen("tcp", doc.Admin.Address)
	if err != nil {
		port.Close()
		return nil, fmt.Errorf("admin.address: %w", err)
	}
	s, err := assemble(t, path, doc)
	if err != nil {
		port.Close()
		adminPort.Close()
		return nil, err
	}
	reloader := gateway.NewReloader(path, s.gateway, s.logger)
	s.admin = admin.New(doc.Admin, s.gateway, reloader, s.logger)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.watched, s.failures = cancel, make(chan struct{}), make(chan error, 2)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		defer close(s.watched)
		defer signal.Stop(hup)
		reloader.Watch(ctx, hup)
	}()
	go func() { s.failures <- s.edge.Serve(port) }()
	go func() { s.failures <- s.admin.Serve(adminPort) }()
	s.admin.Ready(true)
	s.logger.Info("serving", "address", port.Addr().String(), "admin", adminPort.Addr().String(), "version", version)
	return s, nil
}

func assemble(t terminal, path string, doc *config.Document) (*server, error) {
	s := &server{doc: doc}
	s.access = observe.NewAccessLog(t.out)
	s.logger = observe.NewLogger(s.access.Prompt(), slog.LevelInfo)
	metrics := observe.NewMetrics(build())
	s.state = gateway.NewState(metrics, observe.New(metrics, s.access, s.logger), s.logger)
	var err error
	if s.gateway, err = gateway.New(doc, s.state); err != nil {
		return nil, errors.Join(err, s.state.Close(), s.access.Close())
	}
	if s.edge, err = h1.New(doc.Listen, s.gateway, s.logger); err != nil {
		return nil, errors.Join(err, s.gateway.Close(), s.access.Close())
	}
	return s, nil
}

// wait serves until a signal or a failure, then stops in order. A second signal stops at once.
func (s *server) wait(stop <-chan os.Signal) int {
	code := exitOK
	select {
	case sig := <-stop:
		s.logger.Info("stopping", "signal", sig.String())
	case err := <-s.failures:
		s.logger.Error("a port stopped", "error", fmt.Sprint(err))
		code = exitFailure
	}
	finished := make(chan error, 1)
	go func() { finished <- s.shutdown() }()
	select {
	case err := <-finished:
		if err != nil {
			fmt.Fprintf(os.Stderr, "gateway: %v\n", err)
			code = exitFailure
		}
	case <-stop:
		code = exitFailure
	}
	return code
}

// shutdown fails readiness, serves on for the notice so that balancers see it, lets running work end, and closes.
func (s *server) shutdown() error {
	drain := s.doc.Listen.Drain
	s.admin.Ready(false)
	s.edge.Drain()
	time.Sleep(drain.Notice.Std())
	ctx, cancel := context.WithTimeout(context.Background(), drain.Timeout.Std())
	defer cancel()
	cut := s.edge.Shutdown(ctx)
	s.cancel()
	<-s.watched
	last, cancelLast := context.WithTimeout(context.Background(), time.Second)
	defer cancelLast()
	s.admin.Shutdown(last) //nolint:errcheck // a scraper that hangs on does not make the stop a failure
	err := errors.Join(cut, s.gateway.Close())
	s.logger.Info("stopped", "cut", cut != nil)
	return errors.Join(err, s.access.Close())
}
