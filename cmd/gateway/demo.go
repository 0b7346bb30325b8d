package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oncegate/oncegate/cmd/gateway/sample"
	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/gateway"
)

// tour is one comment, then one line of shell, again and again.
//
//go:embed tour.sh
var tour string

const (
	ordersAddress   = "127.0.0.1:9001"
	paymentsAddress = "127.0.0.1:9002"
	issuerAddress   = "127.0.0.1:9003"
	partnerIssuer   = "https://partner.example.com/"
	audience        = "orders-api"
)

func demo(t terminal, args []string) int {
	set := flags(t, "demo")
	path := configFlag(set)
	try := set.Bool("try", false, "run the lines, print what comes back, and stop")
	if code, ok := parse(t, set, args); !ok {
		return code
	}
	seen := gateway.Look(*path)
	doc, ok := load(t.err, *path)
	if !ok {
		return exitBad
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	issuer, err := startSamples(ctx)
	if err != nil {
		return exitOn(t, err)
	}
	caught, release := catch()
	defer release()
	log, err := os.OpenFile("demo.log", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return exitOn(t, err)
	}
	defer log.Close()
	s, err := start(terminal{log, t.err}, seen, doc, caught.hup)
	if err != nil {
		return exitOn(t, err)
	}
	vars, err := tourVariables(doc, issuer)
	if err != nil {
		return exitOn(t, err)
	}
	introduce(t, doc, vars)
	if *try {
		if err := walk(t, vars); err != nil {
			fmt.Fprintln(t.err, err)
		}
		caught.stop <- syscall.SIGTERM
	}
	return s.wait(caught.stop)
}

func startSamples(ctx context.Context) (*sample.Issuer, error) {
	issuer, err := sample.NewIssuer(partnerIssuer)
	if err != nil {
		return nil, err
	}
	if _, err := sample.Serve(ctx, ordersAddress, sample.New("orders").Handler()); err != nil {
		return nil, err
	}
	if _, err := sample.Serve(ctx, paymentsAddress, sample.New("payments").Handler()); err != nil {
		return nil, err
	}
	_, err = sample.Serve(ctx, issuerAddress, issuer.Handler())
	return issuer, err
}

// tourVariables are what the lines of the tour need, in the order in which they are printed.
func tourVariables(doc *config.Document, issuer *sample.Issuer) ([]string, error) {
	sign := func(scope string) (string, error) {
		claims, err := tokenClaims(doc.Issuers["main"], "alice", time.Hour, list{scope}, nil)
		if err != nil {
			return "", err
		}
		return auth.Sign(doc.Issuers["main"], claims, time.Now())
	}
	full, err := sign("orders:read orders:write payments:write")
	if err != nil {
		return nil, err
	}
	narrow, err := sign("orders:list")
	if err != nil {
		return nil, err
	}
	partner, err := issuer.Token(audience, "acme", "orders:read orders:write")
	if err != nil {
		return nil, err
	}
	return []string{
		"GATEWAY=http://" + reachable(doc.Listen.Address), "ORDERS=http://" + ordersAddress, "PAYMENTS=http://" + paymentsAddress,
		"TOKEN=" + full, "NARROW=" + narrow, "PARTNER=" + partner, "RUN=" + strconv.FormatInt(time.Now().UnixNano(), 36),
	}, nil
}

func introduce(t terminal, doc *config.Document, vars []string) {
	fmt.Fprintf(t.out, "Oncegate serves on http://%s (admin http://%s/metrics, log in demo.log).\n", reachable(doc.Listen.Address), reachable(doc.Admin.Address))
	fmt.Fprintln(t.out, "Sample services stand behind it. Switch one: curl -X POST http://"+ordersAddress+"/mode/{normal|slow|failing|crashing}")
	fmt.Fprintln(t.out, "\nPaste this once into another shell:")
	for _, v := range vars {
		fmt.Fprintln(t.out, "  export "+v)
	}
	fmt.Fprintln(t.out, "\nThen try, line by line:")
	for _, line := range strings.Split(strings.TrimSpace(tour), "\n") {
		fmt.Fprintln(t.out, "  "+line)
	}
	fmt.Fprintln(t.out, "\nCtrl-C stops it.")
}

// walk runs the lines of the tour and prints what each of them gave.
func walk(t terminal, vars []string) error {
	for _, line := range strings.Split(strings.TrimSpace(tour), "\n") {
		fmt.Fprintln(t.out, "\n$ "+line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		c := exec.CommandContext(ctx, "bash", "-c", line)
		c.Env = append(os.Environ(), vars...)
		out, err := c.CombinedOutput()
		cancel()
		fmt.Fprintln(t.out, strings.TrimSpace(string(out)))
		if err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}
