package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// spoken is an answer with its exact bytes.
type spoken struct {
	status int
	head   string // status line and fields as they came
	header http.Header
	body   string
}

func (s spoken) kind() string { return answer{body: s.body}.kind() }

// one gives the only field of a name; "" when there is none, and a word that no field has when there are several.
func (s spoken) one(name string) string {
	switch values := s.header.Values(name); len(values) {
	case 0:
		return ""
	case 1:
		return values[0]
	}
	return "(several)"
}

// speak sends exactly these bytes on a connection of its own and reads one answer.
func speak(t *testing.T, address, text string) spoken {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return speakOn(t, c, text)
}

// speak is speak on a new connection, with TLS where the port has it.
func (g *gateway) speak(text string) spoken {
	g.t.Helper()
	return speakOn(g.t, g.connect(), text)
}

func (g *gateway) connect() net.Conn {
	g.t.Helper()
	var c net.Conn
	var err error
	if dialer := (&net.Dialer{Timeout: 3 * time.Second}); g.tls != nil {
		c, err = tls.DialWithDialer(dialer, "tcp", g.address, g.tls)
	} else {
		c, err = dialer.Dial("tcp", g.address)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

func speakOn(t *testing.T, c net.Conn, text string) spoken {
	t.Helper()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatalf("%v for %.80q", err, text)
	}
	var raw bytes.Buffer
	method, _, _ := strings.Cut(text, " ")
	got, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &raw)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%v for %.80q", err, text)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatalf("%v for %.80q", err, text)
	}
	head, _, _ := strings.Cut(raw.String(), "\r\n\r\n")
	return spoken{got.StatusCode, head, got.Header, string(body)}
}

// line makes a request without a body. Fields are whole lines; empty ones are left out.
func line(method, target string, fields ...string) string {
	text := method + " " + target + " HTTP/1.1\r\nHost: gw.test\r\n"
	for _, field := range fields {
		if field != "" {
			text += field + "\r\n"
		}
	}
	return text + "\r\n"
}

// mirror is an upstream on bare sockets: it answers 200 with the head of the request as it came.
type mirror struct {
	url   string
	count atomic.Int64
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	m := &mirror{url: "http://" + ln.Addr().String()}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go m.answer(c)
		}
	}()
	return m
}

func (m *mirror) answer(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReader(c)
	for {
		var head strings.Builder
		length := 0
		for {
			text, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if text == "\r\n" {
				break
			}
			head.WriteString(text)
			if name, value, _ := strings.Cut(text, ":"); strings.EqualFold(name, "Content-Length") {
				length, _ = strconv.Atoi(strings.TrimSpace(value))
			}
		}
		if _, err := io.CopyN(io.Discard, in, int64(length)); err != nil {
			return
		}
		m.count.Add(1)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", head.Len(), head.String())
	}
}

// sent gives the values of a field in a mirrored head, whatever the letter case of its name, '_' being '-'.
func (s spoken) sent(name string) (values []string) {
	for text := range strings.SplitSeq(s.body, "\r\n") {
		got, value, ok := strings.Cut(text, ":")
		if ok && strings.EqualFold(strings.ReplaceAll(got, "_", "-"), name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

type object = map[string]any

// with copies an object, sets names and values, and leaves out those whose value is omit.
func with(o object, pairs ...any) object {
	out := maps.Clone(o)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i].(string)] = pairs[i+1]
		if pairs[i+1] == omit {
			delete(out, pairs[i].(string))
		}
	}
	return out
}

var omit = any("\x00omit")

func sound(pairs ...any) object {
	now := time.Now().Unix()
	return with(object{"iss": "https://id.test/", "aud": "api", "sub": "alice", "iat": now, "exp": now + 600}, pairs...)
}

func b64(text []byte) string { return base64.RawURLEncoding.EncodeToString(text) }

// mint signs header and claims; both may be objects or texts that are taken as they are.
func mint(t *testing.T, alg string, key, header, claims any) string {
	t.Helper()
	segment := func(v any) string {
		if text, ok := v.(string); ok {
			return b64([]byte(text))
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b64(text)
	}
	signed := segment(header) + "." + segment(claims)
	signature, err := jwt.GetSigningMethod(alg).Sign(signed, key)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64(signature)
}

// hs signs claims with the secret of the issuer main.
func hs(t *testing.T, pairs ...any) string {
	t.Helper()
	return mint(t, "HS256", []byte(secret), object{"alg": "HS256"}, sound(pairs...))
}

func pemOf(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func publicPEM(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return pemOf(t, "PUBLIC KEY", der, err)
}

// soundLog checks that every line of the log is one JSON object and that none holds one of the words.
func (g *gateway) soundLog(words ...string) {
	g.t.Helper()
	text := g.log.String()
	for l := range strings.Lines(text) {
		if !json.Valid([]byte(l)) || !strings.HasPrefix(l, "{") {
			g.t.Errorf("no line of JSON: %.300q", l)
		}
	}
	for _, word := range words {
		if word != "" && strings.Contains(text, word) {
			g.t.Errorf("the log holds %.60q", word)
		}
	}
}

// command runs the binary to its end, in a folder of its own unless dir names one.
func command(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, binary, args...)
	var out, failure bytes.Buffer
	c.Dir, c.Stdout, c.Stderr = dir, &out, &failure
	_ = c.Run()
	return c.ProcessState.ExitCode(), out.String(), failure.String()
}
