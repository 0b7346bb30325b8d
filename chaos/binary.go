package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Builds makes the binaries that are tested, each set of tags once.
type Builds struct {
	dir  string
	mu   sync.Mutex
	made map[string]*build
}

type build struct {
	once sync.Once
	path string
	err  error
}

// NewBuilds puts binaries into dir.
func NewBuilds(dir string) *Builds { return &Builds{dir: dir, made: map[string]*build{}} }

// Binary gives the gateway built with the tags, which are separated by blanks.
func (b *Builds) Binary(tags string) (string, error) {
	b.mu.Lock()
	one := b.made[tags]
	if one == nil {
		one = &build{path: filepath.Join(b.dir, "gateway-"+strings.ReplaceAll(tags, " ", "-"))}
		b.made[tags] = one
	}
	b.mu.Unlock()
	one.once.Do(func() {
		cmd := exec.Command("go", "build", "-trimpath", "-tags", tags, "-o", one.path, "../cmd/gateway")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
		if out, err := cmd.CombinedOutput(); err != nil {
			one.err = fmt.Errorf("building the gateway with tags %q: %w\n%s", tags, err, out)
		}
	})
	return one.path, one.err
}
