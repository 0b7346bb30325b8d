package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/config"
)

// health asks /readyz of the gateway whose document is given: a container without a shell has no other way.
func health(t terminal, args []string) int {
	set := flags(t, "health")
	path := configFlag(set)
	if code, ok := parse(t, set, args); !ok {
		return code
	}
	// Only the address is needed: no vault is asked every few seconds, and one that is down makes no gateway unhealthy.
	result, err := config.LoadFrom(*path, config.Sources{Env: os.LookupEnv, Offline: true})
	if err != nil {
		fmt.Fprintln(t.err, err)
		return exitBad
	}
	doc := result.Document
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{Proxy: nil}}
	answer, err := client.Get("http://" + reachable(doc.Admin.Address) + "/readyz")
	if err != nil {
		return exitOn(t, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
		fmt.Fprintf(t.err, "gateway: not ready: %s: %s\n", answer.Status, strings.TrimSpace(string(why)))
		return exitFailure
	}
	return exitOK
}

// reachable turns an address to listen on into one to dial.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
