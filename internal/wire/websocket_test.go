package wire

import (
	"strings"
	"testing"
)

// Only one form of a wish for WebSocket counts; every other is an ordinary request.
func TestWebSocket(t *testing.T) {
	const host = "Host: a\r\n"
	for fields, want := range map[string]bool{
		"Connection: Upgrade\r\nUpgrade: websocket\r\n":                           true,
		"connection: keep-alive, upgrade\r\nupgrade: WebSocket\r\n":               true,
		"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n": true,
		"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n":      true,
		"Upgrade: websocket\r\n":                                                      false,
		"Connection: Upgrade\r\n":                                                     false,
		"Connection: Upgrades\r\nUpgrade: websocket\r\n":                              false,
		"Connection: Upgrade\r\nUpgrade: websocket/13\r\n":                            false,
		"Connection: Upgrade\r\nUpgrade: h2c\r\n":                                     false,
		"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n":                          false,
		"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n":               false,
		"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n":          false,
		"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n": false,
		"Connection: Upgrade\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n":       false,
	} {
		var h Head
		if err := h.Check([]byte("GET"), []byte("/"), []byte("HTTP/1.1"), []byte(host+fields+"\r\n"), Limits{}); err != nil || h.WebSocket() != want {
			t.Errorf("%q: %v %v", fields, err, h.WebSocket())
		}
		if h.Get("Upgrade") != nil || h.Get("Connection") != nil {
			t.Errorf("%q: fields of the connection are seen", fields)
		}
		if err := h.Check([]byte("GET"), []byte("/"), []byte("HTTP/1.0"), []byte(host+fields+"\r\n"), Limits{}); err == nil && h.WebSocket() {
			t.Errorf("%q in HTTP/1.0", fields)
		}
	}
}

// What a head gives after Own does not change with the bytes that it was read from.
func TestOwn(t *testing.T) {
	text := []byte("GET /a?b=c HTTP/1.1\r\nHost: Api.Test:80\r\nA: b\r\n\r\n")
	var h Head
	if err := h.Check(text[:3], text[4:10], text[11:19], text[21:], Limits{}); err != nil {
		t.Fatal(err)
	}
	h.Own()
	copy(text, strings.Repeat("x", len(text)))
	if got := strings.Join([]string{string(h.Path()), string(h.Query()), string(h.Host()), string(h.Authority()), string(h.Get("A"))}, " "); got != "/a b=c api.test Api.Test:80 b" {
		t.Error(got)
	}
}
