package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

//go:embed browser
var pageFiles embed.FS

// webSite is what the page of the browser test meets behind the gateway. It never runs ahead of the page: it waits to be told.
type webSite struct {
	mu      sync.Mutex
	setup   string                   // the script that tells the page where it is
	count   map[string]int           // requests by path
	told    map[string]chan struct{} // by word: the page wants the next piece
	arrived chan struct{}            // a piece of an upload is there
	ended   chan struct{}            // the endless download has lost its reader
	reload  chan chan struct{}       // the page wants one, and is answered when the channel is closed
	report  chan []byte
}

func newWebSite() *webSite {
	s := &webSite{count: map[string]int{}, told: map[string]chan struct{}{}, arrived: make(chan struct{}), ended: make(chan struct{}, 1), reload: make(chan chan struct{}), report: make(chan []byte, 1)}
	for _, word := range []string{"event", "end", "piece"} {
		s.told[word] = make(chan struct{})
	}
	return s
}

// tells sets the script that says where the page is.
func (s *webSite) tells(setup string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setup = setup
}

func (s *webSite) seen(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[path]
}

// await waits for c, not for ever.
func await(r *http.Request, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-r.Context().Done():
	case <-time.After(5 * time.Second):
	}
	return false
}

// passes hands a word over to whoever awaits it.
func passes(w http.ResponseWriter, r *http.Request, c chan<- struct{}) {
	select {
	case c <- struct{}{}:
		_, _ = io.WriteString(w, "passed on")
	case <-r.Context().Done():
	case <-time.After(5 * time.Second):
		http.Error(w, "nobody awaits this", http.StatusInternalServerError)
	}
}

func (s *webSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.count[r.URL.Path]++
	setup := s.setup
	s.mu.Unlock()
	w.Header().Set("Cache-Control", "no-store")
	switch path := r.URL.Path; path {
	case "/":
		s.file(w, "index.html", "text/html")
	case "/page.js":
		s.file(w, "page.js", "text/javascript")
	case "/setup.js":
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, setup)
	case "/dot.gif":
		w.Header().Set("Content-Type", "image/gif")
		_, _ = io.WriteString(w, "GIF89a\x02\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x02\x00\x01\x00\x00\x02\x02\x04\n\x00;")
	case "/echo":
		s.socket(w, r, echoFrames)
	case "/leaves":
		s.socket(w, r, func(c net.Conn, in *bufio.Reader) {
			_, _ = c.Write(append([]byte{0x88, 7, 0x0f, 0xa2}, "moved"...)) // 4002
			_, _ = io.ReadFull(in, make([]byte, 6+7))                       // the page's own, masked
		})
	case "/events":
		s.events(w, r)
	case "/pieces":
		for n := range 3 {
			fmt.Fprint(w, n+1)
			w.(http.Flusher).Flush()
			if !await(r, s.told["piece"]) {
				panic(http.ErrAbortHandler)
			}
		}
	case "/endless":
		for r.Context().Err() == nil {
			_, _ = w.Write(make([]byte, 8<<10))
		}
		s.ended <- struct{}{}
	case "/ended":
		fmt.Fprint(w, await(r, s.ended))
	case "/upload":
		s.upload(w, r)
	case "/arrived":
		fmt.Fprint(w, await(r, s.arrived))
	case "/sum":
		h := sha256.New()
		_, _ = io.Copy(h, r.Body)
		_, _ = io.WriteString(w, hex.EncodeToString(h.Sum(nil)))
	case "/cookie":
		http.SetCookie(w, &http.Cookie{Name: "crumb", Value: "1", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
		fmt.Fprintf(w, "<%s>", r.Header.Get("Cookie"))
	case "/orders":
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "order %d of %s", s.seen(path), body)
	case "/reload":
		done := make(chan struct{})
		s.reload <- done
		fmt.Fprint(w, await(r, done))
	case "/report":
		body, _ := io.ReadAll(r.Body)
		s.report <- body
	default:
		if word, ok := strings.CutPrefix(path, "/told/"); ok && s.told[word] != nil {
			passes(w, r, s.told[word])
		}
	}
}

func (s *webSite) file(w http.ResponseWriter, name, kind string) {
	text, _ := pageFiles.ReadFile("browser/" + name)
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(text)
}

// events sends one for each word of the page; a reader that comes again hears first what it had last.
func (s *webSite) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "retry: 20\n\n")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		fmt.Fprintf(w, "data: after %s\n\n", last)
	}
	w.(http.Flusher).Flush()
	for n := 1; ; n++ {
		select {
		case <-s.told["event"]:
			fmt.Fprintf(w, "id: e%d\ndata: event %d\n\n", n, n)
			w.(http.Flusher).Flush()
		case <-s.told["end"]:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// upload tells of each byte as it comes.
func (s *webSite) upload(w http.ResponseWriter, r *http.Request) {
	var got bytes.Buffer
	one := make([]byte, 1)
	for {
		n, err := r.Body.Read(one)
		if n > 0 {
			got.Write(one)
			select {
			case s.arrived <- struct{}{}:
			case <-time.After(5 * time.Second):
				panic(http.ErrAbortHandler)
			}
		}
		if err != nil {
			fmt.Fprintf(w, "%s %v", &got, err)
			return
		}
	}
}

// socket shakes hands as a server of the protocol "chat" that compresses when it is asked to.
func (s *webSite) socket(w http.ResponseWriter, r *http.Request, then func(net.Conn, *bufio.Reader)) {
	if r.Header.Get("Upgrade") != "websocket" {
		return
	}
	c, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + acceptOf(r.Header.Get("Sec-WebSocket-Key")) + "\r\n"
	if strings.Contains(r.Header.Get("Sec-WebSocket-Protocol"), "chat") {
		head += "Sec-WebSocket-Protocol: chat\r\n"
	}
	if strings.Contains(r.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
		head += "Sec-WebSocket-Extensions: permessage-deflate\r\n"
	}
	_, _ = io.WriteString(c, head+"\r\n")
	then(c, both.Reader)
}

// echoFrames sends every frame back without its mask, compressed or not, and goes after a Close frame.
func echoFrames(c net.Conn, in *bufio.Reader) {
	for {
		var head [2]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		size, more := uint64(head[1]&0x7f), []byte(nil)
		if size == 126 {
			more = make([]byte, 2)
		} else if size == 127 {
			more = make([]byte, 8)
		}
		_, err := io.ReadFull(in, more)
		if len(more) > 0 {
			size = 0
		}
		for _, b := range more {
			size = size<<8 | uint64(b)
		}
		masked := make([]byte, 4+min(size, 1<<20))
		if _, failed := io.ReadFull(in, masked); err != nil || failed != nil || head[1]&0x80 == 0 {
			return
		}
		payload := masked[4:]
		for i := range payload {
			payload[i] ^= masked[i%4]
		}
		_, err = c.Write(append(append([]byte{head[0], head[1] & 0x7f}, more...), payload...))
		if err != nil || head[0]&0x0f == 8 {
			return
		}
	}
}

// pinOf is a certificate as Chromium's switch names those it shall trust.
func pinOf(spki []byte) string {
	sum := sha256.Sum256(spki)
	return base64.StdEncoding.EncodeToString(sum[:])
}
