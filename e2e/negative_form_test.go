package e2e

import (
	"bytes"
	"compress/flate"
	"fmt"
	"strings"
)

// formRows are the cases 1 to 11: what is no token at all.
func (c *court) formRows() {
	good := c.fixed()
	part := strings.Split(good, ".")
	for _, kind := range append(kinds, "set", "several", "scoped") {
		path := c.issuer(kind).path
		c.add(1, "nothing, "+kind, noCredential, line("GET", path))
		c.add(2, "Bearer alone, "+kind, badRequest, line("GET", path, "Authorization: Bearer"))
		c.add(2, "Bearer and blanks, "+kind, badRequest, line("GET", path, "Authorization: Bearer   "))
	}
	c.add(1, "nothing, HEAD", noCredential, line("HEAD", "/hs"))
	c.add(1, "nothing, POST", noCredential, line("POST", "/hs", "Content-Length: 0"))
	c.add(1, "no key", badKey, line("GET", "/keys"))
	c.add(1, "neither of two kinds", refusal{401, "unauthenticated", "(several)"}, line("GET", "/either"))
	for name, second := range map[string]string{"the same": good, "another": "x.y.z", "nothing": ""} {
		c.add(3, "two fields: "+name, unreadable, line("GET", "/hs", "Authorization: Bearer "+good, "authorization: Bearer "+second))
		c.add(3, "two fields, other order: "+name, unreadable, line("GET", "/hs", "AUTHORIZATION: Bearer "+second, "Authorization: Bearer "+good))
	}
	for _, list := range []string{"Bearer " + good + ", Bearer " + good, "Bearer " + good + ",Bearer x.y.z", "Bearer x.y.z, Bearer " + good, "Bearer " + good + ", Basic eDp5eDp5eDp5"} {
		c.add(3, "a list", badRequest, line("GET", "/hs", "Authorization: "+list))
	}
	c.add(3, "a token and a key", badRequest, line("GET", "/either", "Authorization: Bearer "+good, "X-Api-Key: "+c.partner))
	c.add(3, "two keys", badKey400, line("GET", "/keys", "X-Api-Key: "+c.partner, "x-api-key: "+c.partner))
	for _, query := range []string{"access_token=", "a=b&access_token=", "access%5Ftoken=", "%61ccess_token="} {
		c.add(4, "in the query, too", badRequest, line("GET", "/hs?"+query+good, "Authorization: Bearer "+good), part[2])
		c.add(4, "in the query alone", noCredential, line("GET", "/hs?"+query+good), part[2])
	}
	for _, other := range []string{"Basic YWxpY2U6c2VzYW1lLXNlc2FtZQ==", `Digest username="alice-in-wonderland"`, "Negotiate YWxpY2U6c2VzYW1lLXNlc2FtZQ", "DPoP " + good, "Token " + good, "JWT " + good, good, "Bearerx " + good, "Bearer\t" + good, "Bearer:" + good, "Bear", ""} {
		c.add(5, fmt.Sprintf("scheme %.10q", other), noCredential, line("GET", "/hs", "Authorization: "+other))
		c.add(5, fmt.Sprintf("scheme %.10q, several", other), noCredential, line("GET", "/several", "Authorization: "+other))
	}
	for name, bad := range map[string]string{"space": part[0] + ". " + part[1] + "." + part[2], "tab": part[0] + "." + part[1] + ".\t" + part[2], "percent": part[0] + "%2e" + part[1] + "." + part[2],
		"not ASCII": part[0] + "." + part[1] + ".\xe9" + part[2], "UTF-8": part[0] + ".é" + part[1] + "." + part[2], "quotes": `"` + good + `"`, "semicolon": good + ";", "colon": good + ":x", "star": good + "*"} {
		c.bad(6, name, "/hs", bad)
	}
	c.add(6, "NUL", unreadable, bearing("/hs", part[0]+"."+part[1]+".\x00"+part[2]))
	c.bad(7, "8 KiB and a byte", "/hs", strings.Repeat("a", 8<<10+1))
	c.bad(7, "12 KiB with dots", "/hs", part[0]+"."+strings.Repeat("a", 12<<10)+"."+part[2])
	c.add(7, "20 KiB", tooLarge, bearing("/hs", strings.Repeat("b", 20<<10)))
	c.encryptedRows(good)
	for name, text := range map[string]string{"flattened": `{"payload":"` + part[1] + `","protected":"` + part[0] + `","signature":"` + part[2] + `"}`,
		"general": `{"payload": "` + part[1] + `", "signatures": [{"protected": "` + part[0] + `", "signature": "` + part[2] + `"}]}`, "in base64": b64([]byte(`{"payload":"` + part[1] + `"}`)), "one member": `{"payload":"` + part[1] + `"}`} {
		c.bad(9, name, "/hs", text)
	}
	for name, text := range map[string]string{"one": part[0], "two": part[0] + "." + part[1], "four": good + ".x", "four, empty": good + "..", "no header": "." + part[1] + "." + part[2], "no payload": part[0] + ".." + part[2],
		"no signature": part[0] + "." + part[1] + ".", "a dot behind": good + ".", "a dot before": "." + good, "dots alone": "..", "six": good + "." + good} {
		c.bad(10, "segments: "+name, "/hs", text)
		c.bad(10, "segments: "+name+", several", "/several", text)
	}
	c.bad(11, "8 KiB of dots", "/hs", strings.Repeat(".", 8<<10))
	c.bad(11, "15 KiB of dots", "/several", strings.Repeat(".", 15<<10))
	c.add(11, "a MiB of dots", tooLarge, bearing("/hs", strings.Repeat(".", 1<<20)))
}

var badKey400 = refusal{400, "bad-request", `ApiKey realm="oncegate"`}

func (c *court) encryptedRows(good string) {
	var bomb bytes.Buffer
	w, _ := flate.NewWriter(&bomb, 9)
	_, _ = w.Write(make([]byte, 2<<20))
	_ = w.Close()
	body := b64(bomb.Bytes())
	for name, head := range map[string]string{
		"zip bomb": `{"alg":"dir","enc":"A128GCM","zip":"DEF"}`, "large p2c": `{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AAAA"}`,
		"unsigned inside": `{"alg":"RSA-OAEP","enc":"A128GCM","cty":"JWT"}`, "direct": `{"alg":"dir","enc":"A256GCM"}`,
	} {
		payload := body
		if name == "unsigned inside" {
			payload = b64([]byte(b64([]byte(`{"alg":"none"}`)) + "." + strings.Split(good, ".")[1] + "."))
		}
		c.bad(8, name, "/rs", b64([]byte(head))+".AAAA.AAAAAAAAAAAAAAAA."+payload+".AAAAAAAAAAAAAAAAAAAAAA")
		c.bad(8, name+", several", "/several", b64([]byte(head))+"..AAAAAAAAAAAAAAAA."+payload+".AAAAAAAAAAAAAAAAAAAAAA")
		c.bad(27, name+" in three segments", "/rs", b64([]byte(head))+"."+payload+".AAAA")
	}
}

// headerRows are the cases 12, 13, 17 to 20, 22, 27 and 28: headers that no issuer writes, on tokens that are signed with
// the right key.
func (c *court) headerRows() {
	for _, kind := range kinds {
		s := c.issuer(kind)
		signed := func(header any) string { return mint(c.t, s.alg, s.key, header, c.claims(kind)) }
		for _, alg := range []any{"none", "None", "NONE", "nOnE", "none ", omit, nil, 256, []string{s.alg}, object{"alg": s.alg}, strings.ToLower(s.alg) + " ", "hs256", "rs256", "es256", "eddsa", "", "ES256K"} {
			n := 13
			if word, ok := alg.(string); ok && strings.HasPrefix(strings.ToLower(word), "none") {
				n = 12
			}
			token := signed(with(object{"typ": "JWT"}, "alg", alg))
			name := fmt.Sprintf("alg %v, %s", alg, kind)
			c.bad(n, name, s.path, token)
			c.bad(n, name+", unsigned", s.path, token[:strings.LastIndexByte(token, '.')+1])
			c.bad(n, name+", several", "/several", token)
		}
		a := fmt.Sprintf(`"alg":%q`, s.alg)
		for n, headers := range map[int][]string{
			17: {`{"alg":"none",` + a + `}`, `{` + a + `,"alg":"none"}`, `{` + a + `,` + a + `}`, `{` + a + `,"\u0061lg":"none"}`, `{` + a + `,"kid":"a","kid":"b"}`, `{` + a + `,"typ":"JWT","typ":"at+jwt"}`, `{` + a + `,"x":1,"x":2}`},
			18: {`{` + a + `,"crit":["x"],"x":1}`, `{` + a + `,"crit":[]}`, `{` + a + `,"crit":"exp"}`, `{` + a + `,"crit":["alg"]}`, `{` + a + `,"crit":["x","x"],"x":1}`, `{` + a + `,"crit":null}`, `{` + a + `,"crit":["b64"],"b64":true}`, `{` + a + `,"crit":{}}`, `{` + a + `,"crit":["exp"],"exp":1}`},
			19: {`{` + a + `,"b64":false}`, `{` + a + `,"b64":false,"crit":["b64"]}`, `{` + a + `,"b64":true}`, `{` + a + `,"b64":"false"}`},
			27: {`{` + a + `,"zip":"DEF"}`, `{` + a + `,"enc":"A128GCM"}`, `{` + a + `,"zip":"DEF","enc":"A128GCM"}`},
			28: {`{` + a + `,"typ":"logout+jwt"}`, `{` + a + `,"typ":"dpop+jwt"}`, `{` + a + `,"typ":"secevent+jwt"}`, `{` + a + `,"typ":"application/dpop+jwt"}`, `{` + a + `,"typ":"JWE"}`, `{` + a + `,"typ":5}`},
			13: {`null`, `[]`, `"` + s.alg + `"`, `{` + a + `}x`, `{` + a + `} {}`, "\xef\xbb\xbf{" + a + "}", `{"ALG":"` + s.alg + `"}`, `{` + a},
		} {
			for _, header := range headers {
				c.bad(n, fmt.Sprintf("%.60q, %s", header, kind), s.path, signed(header))
			}
		}
	}
	for _, typ := range []any{"JWT", omit, "at", "at+jwt2", "logout+jwt", "at+jwt ", nil} {
		c.bad(28, fmt.Sprintf("typ %v where at+jwt is demanded", typ), "/typed", c.token("typed", []any{"typ", typ}))
	}
	c.strangersKeyRows()
	c.kidRows()
}

// strangersKeyRows are the case 20: the key in the header verifies the token, and counts for nothing.
func (c *court) strangersKeyRows() {
	key := jwkOf(c.stranger)
	for _, path := range []string{"/es", "/set", "/several", "/lone"} {
		for name, header := range map[string]object{"jwk": {"alg": "ES256", "jwk": key}, "jwk and kid": {"alg": "ES256", "jwk": key, "kid": "e"}, "jwk of the right key": {"alg": "ES256", "jwk": jwkOf(signerOf("ES256"))}, "jwk null": {"alg": "ES256", "jwk": nil}} {
			c.bad(20, name, path, mint(c.t, "ES256", c.stranger, header, c.claims(strings.Replace(path[1:], "several", "es", 1))))
		}
	}
}

// kidRows are the cases 22 and 23.
func (c *court) kidRows() {
	for _, kid := range []string{"../../../../dev/null", "/dev/null", "file:///etc/passwd", "' OR '1'='1' --", "x'; DROP TABLE keys; --", "|/usr/bin/id", "$(id)", "`id`", "e\r\nX-Admin: 1", "e\x00", "\x00", "e ", "E", "", "http://127.0.0.1/key", "{{7*7}}", "${jndi:ldap://127.0.0.1/a}", strings.Repeat("k", 700)} {
		c.bad(22, fmt.Sprintf("kid %.30q", kid), "/set", c.token("set", []any{"kid", kid}))
		c.bad(22, fmt.Sprintf("kid %.30q, a stranger's key", kid), "/es", mint(c.t, "ES256", c.stranger, object{"alg": "ES256", "kid": kid}, c.claims("es")))
		c.listed[len(c.listed)-1].also = []string{"DROP TABLE", "jndi", "/dev/null"}
	}
	c.bad(22, "kid of 10 KiB", "/set", c.token("set", []any{"kid", strings.Repeat("k", 7<<10)}))
	for name, kid := range map[string]any{"missing, several keys": omit, "number": 7, "object": object{"a": 1}, "list": []string{"e"}, "null": nil, "true": true} {
		c.bad(23, "kid "+name, "/set", c.token("set", []any{"kid", kid}))
	}
	for name, kid := range map[string]any{"number": 7, "object": object{"a": 1}, "another": "other"} {
		c.bad(23, "one key, kid "+name, "/lone", c.token("lone", []any{"kid", kid}))
	}
}
