package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"
)

const (
	maxFile  = 1 << 20 // of ${file:...}
	maxValue = 1 << 20 // of one scalar, everything substituted
)

// substituter replaces ${NAME}, ${NAME:-default}, ${file:/path}, ${vault:name/path#field} and $$ in scalars. It runs after the text was parsed, so a
// value stays one scalar whatever it holds.
type substituter struct {
	*report
	env     func(string) (string, bool)
	outside *Outside     // what was read is noted there; nil: nobody asks
	vaults  *vaultReader // nil inside of vaults
	hidden  []string     // what came from vaults and files, and the scalars that it stands in
	total   int
}

// maxSubstituted bounds what all substitutions of a document may bring in together.
const maxSubstituted = 64 << 20

func (s *substituter) walk(n *node, path string) {
	switch n.kind {
	case scalarNode:
		s.scalar(n, path)
	case listNode:
		for i, item := range n.items {
			s.walk(item, fmt.Sprintf("%s[%d]", path, i))
		}
	case mappingNode:
		for _, e := range n.entries {
			s.walk(e.value, join(path, e.name))
		}
	}
}

func (s *substituter) scalar(n *node, path string) {
	if !strings.Contains(n.text, "$") {
		return
	}
	switch err := s.expand(n); {
	case err == nil:
		s.failed[path] = s.failed[path] || n.away // what it stands for can't be judged
	case errors.Is(err, errSaid):
		n.broken, s.failed[path] = true, true
	default:
		n.broken = true
		s.add(n.at, path, meantBy(err), "%s", err.Error())
	}
}

func (s *substituter) expand(n *node) error {
	var out strings.Builder
	rest := n.text
	for {
		before, after, found := strings.Cut(rest, "$")
		out.WriteString(before)
		switch {
		case !found:
			n.text = out.String()
			if n.secret { // even where the value is too short to be looked for inside of others
				s.hidden = append(s.hidden, n.text)
			}
			return nil
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			rest = after[1:]
		case strings.HasPrefix(after, "{"):
			inner, tail, closed := strings.Cut(after[1:], "}")
			if !closed {
				return errors.New("unclosed ${: write ${NAME}, or $$ for a dollar sign")
			}
			value, source, err := s.value(inner)
			if err != nil {
				return err
			}
			if s.total += len(value); out.Len()+len(value) > maxValue || s.total > maxSubstituted {
				return fmt.Errorf("the value of %s is too large", source)
			}
			out.WriteString(value)
			n.sources, n.pieces, n.plain = append(n.sources, source), append(n.pieces, value), false
			s.mark(n, inner, value)
			rest = tail
		default:
			out.WriteByte('$')
			rest = after
		}
	}
}

// mark notes what a value means for the scalar that it stands in.
func (s *substituter) mark(n *node, inner, value string) {
	fromVault := strings.HasPrefix(inner, "vault:")
	n.away = n.away || fromVault && s.vaults.from.Offline
	if fromVault || strings.HasPrefix(inner, "file:") {
		n.secret = true
		s.hidden = append(s.hidden, value)
	}
	_, fallback, ok := strings.Cut(inner, ":-")
	n.builtIn = n.builtIn || ok && value != "" && value == strings.ReplaceAll(fallback, "$$", "$")
}

// value looks up what stands between the braces. source is how messages name it: without the default, which may be secret.
func (s *substituter) value(inner string) (value, source string, err error) {
	if path, isFile := strings.CutPrefix(inner, "file:"); isFile {
		var sum digest
		value, sum, err = readSecret(path)
		if s.outside != nil {
			s.outside.files[path] = sum
		}
		return value, "${file:" + path + "}", err
	}
	if ref, isVault := strings.CutPrefix(inner, "vault:"); isVault {
		if s.vaults == nil {
			return "", "", errors.New("what a vault is asked with can't come from a vault: write ${file:/path} or ${NAME}")
		}
		value, err = s.vaults.value(ref)
		return value, "${vault:" + ref + "}", err
	}
	name, fallback, hasFallback := strings.Cut(inner, ":-")
	if !isName(name) {
		return "", "", errors.New("after ${ a variable's name is needed: ${NAME}, ${NAME:-default}, ${file:/path} or ${vault:name/path#field}")
	}
	source = "${" + name + "}"
	value, ok := s.env(name)
	switch {
	case hasFallback && value == "":
		if strings.Contains(fallback, "${") {
			return "", source, fmt.Errorf("the default of %s can't hold another ${", source)
		}
		return strings.ReplaceAll(fallback, "$$", "$"), source, nil
	case !ok:
		return "", source, fmt.Errorf("the environment variable %s is not defined", name)
	case !utf8.ValidString(value):
		return "", source, fmt.Errorf("the value of %s is not UTF-8", source)
	}
	return value, source, nil
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// readSecret reads a regular file of at most 1 MiB and cuts one trailing newline; the digest is of all that stands there. Pipes and devices could hang or never end.
func readSecret(path string) (string, digest, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", digest{}, fmt.Errorf("can't read %s: %s", path, reason(err))
	}
	if !info.Mode().IsRegular() {
		return "", digest{}, fmt.Errorf("can't read %s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", digest{}, fmt.Errorf("can't read %s: %s", path, reason(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return "", digest{}, fmt.Errorf("can't read %s: %s", path, reason(err))
	case len(data) > maxFile:
		return "", digest{}, fmt.Errorf("can't read %s: larger than 1 MiB", path)
	case !utf8.Valid(data):
		return "", digest{}, fmt.Errorf("can't use %s: not UTF-8 text", path)
	}
	text := strings.TrimSuffix(string(data), "\n")
	if len(text) < len(data) {
		text = strings.TrimSuffix(text, "\r")
	}
	return text, sha256.Sum256(data), nil
}

// reason is an error without the operation and the path that the message names already.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
