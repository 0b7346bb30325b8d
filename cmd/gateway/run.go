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
	"github.com/oncegate/oncegate/internal/gateway"
	"github.com/oncegate/oncegate/internal/observe"
)

func run(t terminal, args []string) int {
	set := flags(t, "run")
	path := configFlag(set)
	if code, ok := parse(t, set, args); !ok {
		return code
	}
	caught, release := catch()
	defer release()
	seen := gateway.Look(*path)
	result, err := inspect(*path, false)
	if err != nil {
		fmt.Fprintln(t.err, err)
		return exitBad
	}
	s, err := start(t, seen, result.Document, caught.hup)
	if err != nil {
		return exitOn(t, err)
	}
	return s.wait(caught.stop)
}

// signals are caught before anything else is done: one that comes while the document is read must not kill the process.
type signals struct{ stop, hup chan os.Signal }

func catch() (signals, func()) {
	s := signals{make(chan os.Signal, 2), make(chan os.Signal, 1)}
	signal.Notify(s.stop, syscall.SIGTERM, os.Interrupt)
	signal.Notify(s.hup, syscall.SIGHUP)
	return s, func() { signal.Stop(s.stop); signal.Stop(s.hup) }
}

// server is a running gateway with everything that has to end with it.
type server struct {
	logger   *slog.Logger
	access   *observe.AccessLog
	state    *gateway.State
	gateway  *gateway.Gateway
	edge     *ports
	admin    *admin.Server
	cancel   context.CancelFunc
	failures chan error // a port that stops serving by itself
	watched  chan struct{}
}

// start brings everything up in the order of need: ports first, so that a taken one is said before the store is opened.
func start(t terminal, seen gateway.File, doc *config.Document, hup <-chan os.Signal) (*server, error) {
	s := &server{access: observe.NewAccessLog(t.out)}
	s.logger = observe.NewLogger(s.access.Prompt(), slog.LevelInfo)
	var err error
	if s.edge, err = openPorts(doc.Listen.Config, s.logger); err != nil {
		return nil, errors.Join(err, s.access.Close())
	}
	adminPort, err := net.Listen("tcp", doc.Admin.Address)
	if err != nil {
		s.edge.close()
		return nil, errors.Join(fmt.Errorf("admin.address: %w", err), s.access.Close())
	}
	if err := s.assemble(doc); err != nil {
		s.edge.close()
		adminPort.Close()
		return nil, errors.Join(err, s.access.Close())
	}
	reloader := gateway.NewReloader(seen, s.gateway, s.logger)
	s.admin = admin.New(doc.Admin, s.gateway, reloader, s.logger)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.watched, s.failures = cancel, make(chan struct{}), make(chan error, 4)
	go func() {
		defer close(s.watched)
		reloader.Watch(ctx, hup)
	}()
	s.edge.serve(s.failures)
	go func() { s.failures <- s.admin.Serve(adminPort) }()
	s.admin.Ready(true)
	s.logger.Info("serving", "address", s.edge.addr().String(), "admin", adminPort.Addr().String(), "version", version)
	return s, nil
}

func (s *server) assemble(doc *config.Document) error {
	metrics := observe.NewMetrics(build())
	s.state = gateway.NewState(metrics, observe.New(metrics, s.access, s.logger), s.logger)
	var err error
	if s.gateway, err = gateway.New(doc, s.state); err != nil {
		return errors.Join(err, s.state.Close())
	}
	if err := s.edge.build(doc.Listen.Config, s.gateway, s.logger); err != nil {
		return errors.Join(err, s.gateway.Close())
	}
	metrics.WatchFaults(s.edge.faults)
	return nil
}

// hurried bounds a stop at once: edges give those that they cut up to 1.4 s to end, and to have their access lines.
const hurried = 2 * time.Second

// wait serves until a signal or a failure, then stops in order. A second signal cuts the order short: nothing is waited for any
// more, so that what still runs is cut, as at the end of the drain. It is a failure only when something was.
func (s *server) wait(stop <-chan os.Signal) int {
	code := exitOK
	select {
	case sig := <-stop:
		s.logger.Info("stopping", "signal", sig.String())
	case err := <-s.failures:
		s.logger.Error("a port stopped", "error", fmt.Sprint(err))
		code = exitFailure
	}
	patient, hurry := context.WithCancel(context.Background())
	defer hurry()
	finished := make(chan error, 1)
	go func() { finished <- s.shutdown(patient) }()
	var late <-chan time.Time
	for {
		select {
		case err := <-finished:
			if err != nil {
				fmt.Fprintf(os.Stderr, "gateway: %v\n", err)
				code = exitFailure
			}
			return code
		case sig := <-stop:
			if late == nil {
				s.logger.Warn("stopping at once", "signal", sig.String(), "cut", s.edge.active())
				hurry()
				late = time.After(hurried)
			}
		case <-late:
			s.access.Close() //nolint:errcheck // lines of a sink that blocks are lost either way
			return exitFailure
		}
	}
}

// shutdown fails readiness, serves on for the notice so that balancers see it, lets running work end, and closes. When patient
// ends, the notice and the time for running work do.
func (s *server) shutdown(patient context.Context) error {
	drain := s.gateway.Snapshot().Document.Listen.Drain // a reload may have changed it
	s.admin.Ready(false)
	s.edge.drain()
	notice := time.NewTimer(drain.Notice.Std())
	defer notice.Stop()
	select {
	case <-notice.C:
	case <-patient.Done():
	}
	ctx, cancel := context.WithTimeout(patient, drain.Timeout.Std())
	defer cancel()
	cut := s.edge.shutdown(ctx)
	s.cancel()
	<-s.watched
	last, cancelLast := context.WithTimeout(context.Background(), time.Second)
	defer cancelLast()
	s.admin.Shutdown(last) //nolint:errcheck // a scraper that hangs on does not make the stop a failure
	err := errors.Join(cut, s.gateway.Close())
	s.logger.Info("stopped", "cut", cut != nil)
	return errors.Join(err, s.access.Close())
}
