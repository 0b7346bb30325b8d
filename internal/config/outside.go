package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/oncegate/oncegate/internal/units"
	"github.com/oncegate/oncegate/internal/vault"
)

// Sources is where the values of ${...} come from.
type Sources struct {
	Env     Env
	Vaults  *vault.Pool // nil: a reference to a vault is a problem
	Offline bool        // references to vaults are taken as good, and stand for themselves
}

const (
	maxSecrets = 256              // different secrets of vaults in one document
	readWithin = 30 * time.Second // all of them
)

// digest tells a changed value from an unchanged one; zero is one that could not be read.
type digest = [sha256.Size]byte

// Outside is what a document was made of beside its text. It remembers digests, never values.
type Outside struct {
	files  map[string]digest
	vaults map[string]*vaultUse
	pool   *vault.Pool
}

type vaultUse struct {
	client  *vault.Client
	refresh time.Duration
	fields  map[vault.Ref]digest
}

// Files are the paths of ${file:...} with the SHA-256 of what was read there.
func (o *Outside) Files() map[string]digest {
	if o == nil {
		return nil
	}
	return o.files
}

// Vaults are the names of the vaults that the document takes secrets from, with how often to read again.
func (o *Outside) Vaults() map[string]time.Duration {
	every := map[string]time.Duration{}
	if o != nil {
		for name, use := range o.vaults {
			every[name] = use.refresh
		}
	}
	return every
}

// Changed reads the secrets of one vault again and reports whether one is another than the document was made of. Before
// that it lets the vault's token live on.
func (o *Outside) Changed(ctx context.Context, name string) (bool, error) {
	use := o.vaults[name]
	if use == nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	if err := use.client.Renew(ctx); err != nil {
		return false, err
	}
	read := map[string]vault.Secret{}
	changed := false
	for _, ref := range slices.SortedFunc(maps.Keys(use.fields), byPlace) {
		secret, known := read[ref.Path]
		if !known {
			var err error
			if secret, err = use.client.Read(ctx, ref.Path); err != nil {
				return false, fmt.Errorf("%s: %w", ref, err)
			}
			read[ref.Path] = secret
		}
		text, err := secret.Text(ref.Field)
		if err != nil {
			return false, fmt.Errorf("%s: %w", ref, err)
		}
		changed = changed || sha256.Sum256([]byte(text)) != use.fields[ref]
	}
	return changed, nil
}

func byPlace(a, b vault.Ref) int {
	if a.String() < b.String() {
		return -1
	}
	return 1
}

// vaultReader answers the references of one document.
type vaultReader struct {
	from    Sources
	outside *Outside
	known   map[string]vault.Config
	broken  map[string]bool // vaults whose settings have problems, which are reported there
	names   []string
	read    map[string]vault.Secret // by vault and path
	down    map[string]error        // vaults that do not answer: once is enough
	ctx     context.Context
}

// errSaid is a reference that needs no problem of its own.
var errSaid = errors.New("reported elsewhere")

// readVaults decodes the section vaults ahead of the rest; its problems are reported when the whole document is decoded.
func readVaults(ctx context.Context, root *node, from Sources, outside *Outside) *vaultReader {
	v := &vaultReader{
		from: from, outside: outside, ctx: ctx,
		known: map[string]vault.Config{}, broken: map[string]bool{}, read: map[string]vault.Secret{}, down: map[string]error{},
	}
	n := root.get("vaults")
	if n == nil || n.kind != mappingNode {
		return v
	}
	apart := newReport("")
	newDecoder(apart).value(n, reflect.ValueOf(&v.known).Elem(), &field{name: "vaults"}, "vaults")
	for name, cfg := range v.known {
		found := units.NewProblems()
		cfg.Validate(found)
		path := join("vaults", name)
		v.broken[name] = len(found.List()) > 0 || apart.covered(path) || apart.below(path)
		v.names = append(v.names, name)
	}
	slices.Sort(v.names)
	return v
}

// value gives the text that a reference stands for.
func (v *vaultReader) value(text string) (string, error) {
	ref, err := vault.ParseRef(text)
	if err != nil {
		return "", err
	}
	cfg, there := v.known[ref.Vault]
	switch {
	case !there:
		return "", &units.Mistaken{Message: fmt.Sprintf("unknown vault %q", ref.Vault), Meant: units.Nearest(ref.Vault, v.names)}
	case v.broken[ref.Vault]:
		return "", errSaid
	case v.from.Offline:
		return fmt.Sprintf("offline-%x", sha256.Sum256([]byte(text))), nil
	case v.from.Vaults == nil:
		return "", errors.New("no vault can be asked here")
	}
	value, err := v.fetch(ref, cfg)
	if use := v.outside.vaults[ref.Vault]; use != nil {
		use.fields[ref] = digest{}
		if err == nil {
			use.fields[ref] = sha256.Sum256([]byte(value))
		}
	}
	if err != nil {
		return "", fmt.Errorf("can't read %s: %w", ref, err)
	}
	return value, nil
}

func (v *vaultReader) fetch(ref vault.Ref, cfg vault.Config) (string, error) {
	use := v.outside.vaults[ref.Vault]
	if use == nil {
		client, err := v.from.Vaults.Client(ref.Vault, cfg)
		if err != nil {
			return "", err
		}
		use = &vaultUse{client, cfg.Refresh.Std(), map[vault.Ref]digest{}}
		v.outside.vaults[ref.Vault] = use
	}
	if err := v.down[ref.Vault]; err != nil {
		return "", err
	}
	place := ref.Vault + "/" + ref.Path
	secret, known := v.read[place]
	if !known {
		if len(v.read) >= maxSecrets {
			return "", fmt.Errorf("a document takes at most %d secrets from vaults", maxSecrets)
		}
		var err error
		if secret, err = use.client.Read(v.ctx, ref.Path); err != nil {
			if vault.Unavailable(err) {
				v.down[ref.Vault] = err
			}
			return "", err
		}
		v.read[place] = secret
	}
	return secret.Text(ref.Field)
}
