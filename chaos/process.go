package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Gateway is one gateway, restarted whenever it ends until Down. Its log goes to a file.
type Gateway struct {
	Address, Admin string
	binary, file   string
	log            *os.File
	history        *History
	name           string

	mu     sync.Mutex
	cmd    *exec.Cmd
	arms   []string // failpoints of the next starts
	points int      // how often it ended itself at a failpoint
	killed bool     // its end by a kill was ours
	alone  int      // how often it ended by itself: after the third time it stays down
	expect bool     // its end was ordered
	down   bool
	done   chan struct{}
}

// StartGateway starts a gateway with the document in file. arms are the failpoints of its first starts, in turn.
func StartGateway(binary, file, address, admin, name string, h *History, arms []string) (*Gateway, error) {
	log, err := os.OpenFile(file+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	g := &Gateway{Address: address, Admin: admin, binary: binary, file: file, log: log, history: h, name: name, arms: arms, done: make(chan struct{})}
	if err := g.launch(); err != nil {
		return nil, err
	}
	go g.supervise()
	return g, nil
}

// launch is called with the lock held, or before anybody else knows the gateway.
func (g *Gateway) launch() error {
	arm := ""
	if len(g.arms) > 0 {
		arm, g.arms = g.arms[0], g.arms[1:]
	}
	g.cmd = exec.Command(g.binary, "run", "-config", g.file)
	g.cmd.Env = append(os.Environ(), "ONCEGATE_FAILPOINT="+arm)
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	g.expect, g.killed = false, false
	fmt.Fprintf(g.log, "--- start, failpoint %q\n", arm)
	return g.cmd.Start()
}

func (g *Gateway) supervise() {
	defer close(g.done)
	for {
		err := g.cmd.Wait()
		kind := g.kindOf(err)
		over := g.history.Fault(kind, g.name)
		g.mu.Lock()
		if kind == FaultProcess {
			g.alone++
		}
		if g.down || g.alone == 3 {
			g.mu.Unlock()
			over()
			return
		}
		if !g.killed {
			g.points++
		}
		time.Sleep(20 * time.Millisecond)
		if err := g.launch(); err != nil {
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		over()
	}
}

// kindOf tells a kill from a process that ended by itself.
func (g *Gateway) kindOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGKILL {
			return FaultKill
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.expect && err == nil {
		return "end"
	}
	return FaultProcess
}

// Signal sends a signal to the process that runs now.
func (g *Gateway) Signal(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expect = g.expect || s == syscall.SIGTERM
	g.killed = g.killed || s == syscall.SIGKILL
	_ = g.cmd.Process.Signal(s)
}

// Kill is kill -9; it is started again.
func (g *Gateway) Kill() { g.Signal(syscall.SIGKILL) }

// Stop pauses the gateway for d, or until stop is closed.
func (g *Gateway) Stop(d time.Duration, stop <-chan struct{}) {
	over := g.history.Fault(FaultStop, g.name)
	g.Signal(syscall.SIGSTOP)
	wait(d, stop)
	g.Signal(syscall.SIGCONT)
	over()
}

// Disarm has later starts happen without failpoints.
func (g *Gateway) Disarm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.arms = nil
}

// Points is how often it ended itself at a failpoint.
func (g *Gateway) Points() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.points
}

// Ready waits until the gateway says that it is.
func (g *Gateway) Ready(limit time.Duration) error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got, err := client.Get("http://" + g.Admin + "/readyz"); err == nil {
			_ = got.Body.Close()
			if got.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	return fmt.Errorf("%s is not ready within %v; log:\n%s", g.name, limit, g.Tail())
}

// Tail is the end of the log.
func (g *Gateway) Tail() string {
	text, err := os.ReadFile(g.file + ".log")
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// Down ends the gateway for good: in order, or by -9 when that takes too long.
func (g *Gateway) Down() {
	g.mu.Lock()
	g.down = true
	g.mu.Unlock()
	g.Signal(syscall.SIGCONT)
	g.Signal(syscall.SIGTERM)
	select {
	case <-g.done:
	case <-time.After(20 * time.Second):
		g.Kill()
		<-g.done
	}
	_ = g.log.Close()
}

// Upstream is the ledger's process.
type Upstream struct {
	URL string
	cmd *exec.Cmd
	in  io.Closer
}

// LedgerEnv has TestMain run the ledger in place of tests.
const LedgerEnv = "ONCEGATE_CHAOS_LEDGER"

// StartLedger starts this program again as the upstream; it ends with us.
func StartLedger(file string) (*Upstream, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), LedgerEnv+"="+file)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the ledger did not start: %w", err)
	}
	return &Upstream{URL: "http://" + strings.TrimSpace(address), cmd: cmd, in: in}, nil
}

// Close ends it.
func (u *Upstream) Close() error {
	_ = u.in.Close()
	return u.cmd.Wait()
}

var givenPorts sync.Map

// freeAddress gives an address that nobody was given before, below the ports that Redis servers of the tests and outgoing
// connections take: a gateway comes back to it after each kill.
func freeAddress() (string, error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 1_100+rand.IntN(9_900))
		if _, given := givenPorts.LoadOrStore(address, true); given {
			continue
		}
		if ln, err := net.Listen("tcp", address); err == nil {
			return address, ln.Close()
		}
	}
	return "", errors.New("no port is free")
}
