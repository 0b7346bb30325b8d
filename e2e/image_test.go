package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func repo(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestImage builds the Dockerfile's final stage around the local binary: no registry is asked.
func TestImage(t *testing.T) {
	buildah, err := exec.LookPath("buildah")
	if err != nil {
		t.Skip("buildah is not installed")
	}
	built := t.TempDir()
	out := filepath.Join(built, "out")
	if err := os.MkdirAll(filepath.Join(out, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, binary, filepath.Join(out, "gateway"))
	if err := os.WriteFile(filepath.Join(out, "ca-certificates.crt"), []byte("# roots\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sbom := exec.Command("go", "run", "./scripts/sbom", "-o", filepath.Join(out, "sbom.cdx.json"), binary)
	sbom.Dir = repo(t, ".")
	if text, err := sbom.CombinedOutput(); err != nil {
		t.Fatalf("sbom: %v: %s", err, text)
	}
	final := filepath.Join(built, "Dockerfile")
	if err := os.WriteFile(final, []byte(finalStage(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	storage := []string{"--root", filepath.Join(built, "root"), "--runroot", filepath.Join(built, "run"), "--storage-driver", "vfs"}
	args := append(storage, "build", "--isolation", "chroot", "--build-context", "build="+built, "-f", final, "-t", "oncegate:test", built)
	if text, err := exec.Command(buildah, args...).CombinedOutput(); err != nil {
		t.Fatalf("buildah: %v: %s", err, text)
	}
	inspect := append(storage, "inspect", "--type", "image", "--format", "{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}", "oncegate:test")
	text, err := exec.Command(buildah, inspect...).CombinedOutput()
	if err != nil {
		t.Fatalf("inspect: %v: %s", err, text)
	}
	if got := strings.TrimSpace(string(text)); got != "65532:65532 [/gateway] [run -config /etc/oncegate/gateway.yaml]" {
		t.Errorf("the image is %s", got)
	}
}

// finalStage is the Dockerfile from its last FROM on.
func finalStage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(repo(t, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(text), "FROM scratch")
	if at < 0 {
		t.Fatal("the final stage is not FROM scratch")
	}
	return string(text[at:])
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}
