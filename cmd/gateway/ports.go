package main

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/edge/h1"
	"github.com/oncegate/oncegate/internal/edge/h2"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// ports is the port that clients connect to, with the edges behind it.
type ports struct {
	alone net.Listener // HTTP/1.1 only; nil with HTTP/2
	both  *edge.Port   // nil without HTTP/2
	h1    *h1.Edge
	h2    *h2.Edge
}

func openPorts(cfg edge.Config, log *slog.Logger) (p *ports, err error) {
	p = &ports{}
	if cfg.HTTP2 {
		p.both, err = edge.Open(cfg, log)
	} else {
		p.alone, err = edge.Listen(cfg, log)
	}
	return p, err
}

func (p *ports) build(cfg edge.Config, h pipeline.Handler, log *slog.Logger) (err error) {
	if p.h1, err = h1.New(cfg, h, log); err == nil && p.both != nil {
		p.h2, err = h2.New(cfg, h, log)
	}
	return err
}

// faults gives what ended before a handler saw it, by where and what.
func (p *ports) faults(yield func(at, fault string, n uint64)) {
	all := []*edge.Faults{p.h1.Faults()}
	if p.both != nil {
		all = append(all, p.both.Faults(), p.h2.Faults())
	}
	edge.EachFault(all, yield)
}

func (p *ports) addr() net.Addr {
	if p.both != nil {
		return p.both.Addr()
	}
	return p.alone.Addr()
}

// close is for ports that never served.
func (p *ports) close() {
	if p.both != nil {
		p.both.Stop()
		return
	}
	p.alone.Close()
}

// serve has each part report when it stops. An edge that stops takes no more connections, so that the port can't wait for it.
func (p *ports) serve(stopped chan<- error) {
	if p.both == nil {
		go func() { stopped <- p.h1.Serve(p.alone) }()
		return
	}
	one, two := p.both.H1(), p.both.H2()
	go func() { err := p.h1.Serve(one); one.Close(); stopped <- err }()
	go func() { err := p.h2.Serve(two); two.Close(); stopped <- err }()
	go func() { stopped <- p.both.Serve() }()
}

func (p *ports) drain() {
	p.h1.Drain()
	if p.h2 != nil {
		p.h2.Drain()
	}
}

func (p *ports) active() int {
	if p.h2 != nil {
		return p.h1.Active() + p.h2.Active()
	}
	return p.h1.Active()
}

// shutdown stops both edges within the same time.
func (p *ports) shutdown(ctx context.Context) error {
	if p.both == nil {
		return p.h1.Shutdown(ctx)
	}
	p.both.Stop()
	second := make(chan error, 1)
	go func() { second <- p.h2.Shutdown(ctx) }()
	return errors.Join(p.h1.Shutdown(ctx), <-second)
}
