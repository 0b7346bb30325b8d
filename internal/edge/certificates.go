package edge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookAgain is how often handshakes look whether a file changed: a renewed certificate serves a second later.
const lookAgain = time.Second

// certificates are those of the port, as their files hold them. Files that change are read again; while they can't be read,
// or don't fit together, the last good ones stay.
type certificates struct {
	files []CertificateConfig
	log   *slog.Logger

	mu      sync.Mutex
	current []tls.Certificate
	seen    []os.FileInfo // of each certificate and each key
	looked  time.Time
}

func loadCertificates(files []CertificateConfig, log *slog.Logger) (*certificates, error) {
	if len(files) == 0 {
		return nil, errors.New("listen.tls.certificates: at least one certificate is needed")
	}
	c := &certificates{files: files, log: log, seen: look(files), looked: time.Now()}
	var err error
	c.current, err = read(files)
	return c, err
}

func read(files []CertificateConfig) ([]tls.Certificate, error) {
	all := make([]tls.Certificate, len(files))
	for i, f := range files {
		var err error
		if all[i], err = tls.LoadX509KeyPair(f.Cert, f.Key); err != nil {
			return nil, fmt.Errorf("listen.tls.certificates[%d]: can't load %s with %s: %w", i, f.Cert, f.Key, err)
		}
	}
	return all, nil
}

// look follows links, so the swap of a link is a change; a file that is gone is nil.
func look(files []CertificateConfig) []os.FileInfo {
	names := make([]string, 0, 2*len(files))
	for _, f := range files {
		names = append(names, f.Cert, f.Key)
	}
	return lookAt(names)
}

func lookAt(names []string) []os.FileInfo {
	seen := make([]os.FileInfo, len(names))
	for i, name := range names {
		if info, err := os.Stat(name); err == nil {
			seen[i] = info
		}
	}
	return seen
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		switch {
		case a[i] == nil || b[i] == nil:
			if a[i] != b[i] {
				return false
			}
		case !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()):
			return false
		}
	}
	return true
}

// choose gives the certificate for a handshake: the first that the client can use, else the first.
func (c *certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	all := c.now()
	for i := range all {
		if hello.SupportsCertificate(&all[i]) == nil {
			return &all[i], nil
		}
	}
	return &all[0], nil
}

func (c *certificates) now() []tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookAgain {
		return c.current
	}
	c.looked = time.Now()
	seen := look(c.files)
	if same(seen, c.seen) {
		return c.current
	}
	c.seen = seen
	all, err := read(c.files)
	if err != nil {
		c.log.Error("certificates can't be read again, the last good ones stay", "error", err)
		return c.current
	}
	c.current = all
	c.log.Info("certificates read again")
	return c.current
}
