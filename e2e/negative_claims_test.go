package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
)

// digits is a JSON number as it is written.
func digits(text string) json.RawMessage { return json.RawMessage(text) }

// timeRows are the cases 36 to 39.
func (c *court) timeRows() {
	c.everywhere(36, "exp past by more than leeway", nil, "exp", c.now-32)
	c.everywhere(36, "exp long past", nil, "iat", c.now-9000, "exp", c.now-3600)
	c.bad(36, "exp now, no leeway", "/typed", c.token("typed", []any{"typ", "at+jwt"}, "exp", c.now))
	c.bad(36, "exp a second ago, no leeway", "/typed", c.token("typed", []any{"typ", "at+jwt"}, "exp", c.now-1))
	for name, exp := range map[string]any{"missing": omit, "null": nil, "0": 0, "negative": -5, "text": fmt.Sprint(c.now + 60), "true": true, "list": []int64{c.now + 60}, "object": object{}, "empty text": "",
		"1e300": digits("1e300"), "9.3e18": digits("9.3e18"), "1e19": digits("1e19"), "2^63": digits("9223372036854775808"), "2^64": digits("18446744073709551616"), "0.5": digits("0.5"), "-0": digits("-0"), "253402300800": digits("253402300800")} {
		c.everywhere(37, "exp "+name, nil, "exp", exp)
	}
	for _, kind := range kinds {
		s := c.issuer(kind)
		c.bad(37, "exp 1e400 alone, "+kind, s.path, mint(c.t, s.alg, s.key, object{"alg": s.alg}, fmt.Sprintf(`{"iss":%q,"aud":"api","sub":"a","exp":1e400}`, s.iss)))
	}
	for name, nbf := range map[string]any{"in two minutes": c.now + 120, "1e19": digits("1e19"), "1e300": digits("1e300"), "text": "1", "true": true, "list": []int{1}, "negative": -1, "null": nil} {
		c.everywhere(38, "nbf "+name, nil, "nbf", nbf)
	}
	for name, iat := range map[string]any{"in two minutes": c.now + 120, "text": fmt.Sprint(c.now), "1e19": digits("1e19"), "null": nil} {
		c.everywhere(39, "iat "+name, nil, "iat", iat)
	}
	c.everywhere(39, "lives 25 hours", nil, "exp", c.now+25*3600)
	c.bad(39, "lives longer than an hour", "/typed", c.token("typed", []any{"typ", "at+jwt"}, "exp", c.now+3700))
}

// claimRows are the cases 40 to 47.
func (c *court) claimRows() {
	for name, aud := range map[string]any{"missing": omit, "other": "other", "none": []string{}, "an empty one": []string{""}, "empty": "", "number": 5, "mixed": []any{"api", 5}, "nested": []any{[]string{"api"}}, "object": object{"api": true},
		"prefix": "ap", "longer": "apis", "case": "API", "slash": "api/", "blank": "api ", "two in one": "api other", "null": nil, "true": true} {
		c.everywhere(40, "aud "+name, nil, "aud", aud)
	}
	for _, kind := range kinds {
		iss := c.issuer(kind).iss
		for name, other := range map[string]any{"missing": omit, "unknown": "https://evil.test/", "no slash": strings.TrimSuffix(iss, "/"), "two slashes": iss + "/", "case": strings.Replace(iss, "https://", "https://X", 1), "upper": strings.ToUpper(iss),
			"http": strings.Replace(iss, "https", "http", 1), "list": []string{iss}, "null": nil, "empty": "", "blank": iss + " ", "number": 5, "user": strings.Replace(iss, "://", "://evil.test@", 1), "fragment": iss + "#"} {
			c.bad(41, "iss "+name+", "+kind, c.issuer(kind).path, c.token(kind, nil, "iss", other))
			c.bad(41, "iss "+name+", several, "+kind, "/several", c.token(kind, nil, "iss", other))
		}
		for _, other := range kinds {
			if other != kind {
				c.bad(42, kind+"'s token where "+other+" is trusted", c.issuer(other).path, c.token(kind, nil))
			}
		}
	}
	for name, pairs := range map[string][]any{"nonce": {"nonce", "n-0S6"}, "at_hash": {"at_hash", "x"}, "c_hash": {"c_hash", "x"}, "all": {"nonce", "n", "at_hash", "x", "c_hash", "y", "auth_time", c.now, "azp", "api"}} {
		c.everywhere(43, "ID token: "+name, []any{"typ", "JWT"}, pairs...)
		c.everywhere(43, "ID token without typ: "+name, nil, pairs...)
	}
	for name, text := range map[string]string{"sub": `{"sub":"mallory","sub":"alice",CLAIMS}`, "sub escaped": `{"sub":"alice",CLAIMS,"\u0073ub":"mallory"}`, "exp": `{"sub":"alice",CLAIMS,"exp":99999999999}`, "aud": `{"aud":"other","sub":"alice",CLAIMS}`, "iss": `{"sub":"alice",CLAIMS,"iss":"x"}`,
		"another": `{"sub":"alice",CLAIMS,"x":1,"x":1}`, "inside": `{"sub":"alice",CLAIMS,"x":{"y":1,"y":2}}`} {
		c.texts(44, "twice: "+name, text)
	}
	for name, text := range map[string]string{"SUB": `{"SUB":"alice",CLAIMS}`, "ſub": `{"ſub":"alice",CLAIMS}`, "Sub": `{"Sub":"alice",CLAIMS}`} {
		c.texts(44, "no sub but "+name, text)
	}
	c.everywhere(44, "EXP does not override", nil, "exp", c.now-60, "EXP", c.now+600, "Exp", c.now+600)
	c.everywhere(44, "AUD does not override", nil, "aud", "other", "AUD", "api")
	for name, text := range map[string]string{"null": "null", "list": `["a"]`, "text": `"a"`, "number": "5", "nothing": " ", "trailing": `{"sub":"a",CLAIMS} {}`, "trailing letter": `{"sub":"a",CLAIMS}x`, "list of it": `[{"sub":"a",CLAIMS}]`, "BOM": "\xef\xbb\xbf" + `{"sub":"a",CLAIMS}`,
		"not UTF-8": "{\"sub\":\"al\xffice\",CLAIMS}", "overlong": "{\"sub\":\"al\xc0\xafice\",CLAIMS}", "surrogate": `{"sub":"al\ud800ice",CLAIMS}`, "comment": `{"sub":"a",/**/CLAIMS}`, "comma": `{"sub":"a",CLAIMS,}`, "cut": `{"sub":"a",CLAIMS`, "single quotes": `{'sub':'a',CLAIMS}`,
		"NaN": `{"sub":"a",CLAIMS,"x":NaN}`, "raw line break": "{\"sub\":\"a\nb\",CLAIMS}", "UTF-16": "\xff\xfe{\x00}\x00"} {
		c.texts(45, "payload "+name, text)
	}
	deep := func(n int) string {
		return `{"sub":"a",CLAIMS,"d":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}"
	}
	c.texts(46, "17 deep", deep(17))
	c.texts(46, "2,800 deep", deep(2800))
	c.texts(46, "objects in objects", `{"sub":"a",CLAIMS,"d":`+strings.Repeat(`{"a":`, 500)+"1"+strings.Repeat("}", 500)+"}")
	c.texts(46, "5,000 deep, longer than a token may be", deep(5000))
	c.texts(46, "700 members", manyMembers(700))
	c.add(46, "10,000 deep", tooLarge, bearing("/hs", mint(c.t, "HS256", []byte(secret), object{"alg": "HS256"}, deep(10000))))
	c.add(46, "10,000 members", tooLarge, bearing("/hs", mint(c.t, "HS256", []byte(secret), object{"alg": "HS256"}, manyMembers(10000))))
	for name, sub := range map[string]any{"CRLF": "a\r\nX-Admin: 1", "LF": "a\nb", "NUL": "a\x00b", "tab": "a\tb", "DEL": "a\x7f", "C1": "a\u0085b", "missing": omit, "empty": "", "null": nil, "number": 5, "list": []string{"alice"}, "true": true} {
		c.everywhere(47, "sub "+name, nil, "sub", sub)
	}
}

func manyMembers(n int) string {
	var text strings.Builder
	text.WriteString(`{"sub":"a",CLAIMS`)
	for i := range n {
		fmt.Fprintf(&text, `,"%x":1`, i+0x1000)
	}
	return text.String() + "}"
}

// policyRows are the cases 49 to 53, 66 and 74: who is known, and may not.
func (c *court) policyRows() {
	for _, scope := range []any{omit, "", "orders:read_all", "ORDERS:READ", "Orders:read", "orders", "orders:", "orders:rea", "xorders:read", "orders:read,orders:write", "orders:read\torders", "orders.read", 5, true, nil, []string{"orders:read_all", "orders"}, []any{"orders:read", 5}, []any{[]string{"orders:read"}}, object{"orders:read": true}} {
		n := 50
		if scope == omit || scope == "" {
			n = 49
		}
		c.add(n, fmt.Sprintf("scope %v", scope), wantsScope, bearing("/scoped", c.token("hs", nil, "scope", scope)))
	}
	c.add(49, "a scope elsewhere", wantsScope, bearing("/scoped", c.token("hs", nil, "Scope", "orders:read", "permissions", []string{"orders:read"})))
	c.add(49, "a key without scopes", refusal{403, "forbidden", `ApiKey realm="oncegate", error="insufficient_scope", scope="write"`}, line("GET", "/key-scope", "X-Api-Key: "+c.deprived))
	for name, roles := range map[string]any{"missing": omit, "another": []string{"user"}, "case": []string{"Admin"}, "longer": []string{"administrator"}, "two words": "user admin", "object": object{"admin": true}, "mixed": []any{"admin", 1}, "nested": []any{[]string{"admin"}}, "null": nil, "number": 1} {
		c.add(51, "roles "+name, forbidden, bearing("/roles", c.token("hs", nil, "roles", roles)))
	}
	for name, tenant := range map[string]any{"missing": omit, "another": "c", "case": "A", "prefix": "ab", "null": nil, "object": object{"a": "a"}, "true": true, "number": 1, "list of others": []string{"c", "d"}} {
		c.add(51, "claim "+name, forbidden, bearing("/claims", c.token("hs", nil, "tenant", tenant)))
	}
	for name, pairs := range map[string][]any{"nothing": {}, "acr alone": {"acr", "mfa"}, "auth_time alone": {"auth_time", c.now}, "weak": {"acr", "pwd", "auth_time", c.now}, "case": {"acr", "MFA", "auth_time", c.now}, "long ago": {"acr", "mfa", "auth_time", c.now - 400},
		"list": {"acr", []string{"mfa"}, "auth_time", c.now}, "time as text": {"acr", "mfa", "auth_time", fmt.Sprint(c.now)}, "future": {"acr", "mfa", "auth_time", c.now + 3600}, "null": {"acr", nil, "auth_time", nil}} {
		c.add(52, "login: "+name, stepUp, bearing("/login", c.token("hs", nil, pairs...)))
	}
	good := c.fixed()
	for name, token := range map[string]string{"nonsense": "x.y.z", "expired": c.token("hs", nil, "exp", c.now-60), "forged": mint(c.t, "HS256", []byte(secondSecret), object{"alg": "HS256"}, c.claims("hs")), "of another": c.token("rs", nil), "unsigned": good[:strings.LastIndexByte(good, '.')+1], "other audience": c.token("hs", nil, "aud", "x")} {
		c.bad(53, "optional, "+name, "/maybe", token)
	}
	c.add(53, "optional, another scheme", noCredential, line("GET", "/maybe", "Authorization: Basic YWxpY2U6c2VzYW1lLXNlc2FtZQ=="))
	c.add(53, "optional, an empty field", noCredential, line("GET", "/maybe", "Authorization: "))
	c.add(53, "optional, nothing behind Bearer", badRequest, line("GET", "/maybe", "Authorization: Bearer"))
	for name, cnf := range map[string]any{"unknown": object{"new": "x"}, "jwk": object{"jwk": jwkOf(c.stranger)}, "kid": object{"kid": "x"}, "empty": object{}, "null": nil, "text": "x", "list": []string{"jkt"}} {
		c.everywhere(59, "cnf "+name, nil, "cnf", cnf)
	}
	c.apiKeyRows()
	for range 2 {
		c.bad(74, "a token of the cache for another audience", "/reports", good)
		c.bad(74, "a token of the cache for another issuer", "/rs", good)
		c.add(74, "a token of the cache without the scope", wantsScope, bearing("/scoped", good))
	}
}

func (c *court) apiKeyRows() {
	for name, key := range map[string]string{"unknown": "unknown-key-0123456789abcdef", "cut": c.partner[:len(c.partner)-1], "longer": c.partner + "0", "case": strings.ToUpper(c.partner), "blank in it": c.partner[:7] + " " + c.partner[7:], "its hash": digest(c.partner),
		"expired": "expired-key-0123456789", "elsewhere": "elsewhere-key-0123456789", "5 KiB": strings.Repeat("k", 5<<10), "not ASCII": c.partner + "\xe9", "quoted": `"` + c.partner + `"`} {
		c.add(66, "key "+name, badKey, line("GET", "/keys", "X-Api-Key: "+key))
	}
	for _, empty := range []string{"X-Api-Key:", "X-Api-Key: ", "X-Api-Key: \t "} {
		c.add(66, "an empty key", badKey, line("GET", "/keys", empty))
	}
	for _, query := range []string{"api_key=", "x-api-key=", "X-Api-Key=", "apikey=", "key="} {
		c.add(66, "key in the query", badKey, line("GET", "/keys?"+query+c.partner), c.partner)
	}
	for _, field := range []string{"Authorization: Bearer ", "Authorization: ApiKey ", "Cookie: X-Api-Key=", "Api-Key: ", "X_Api_Key: ", "Apikey: "} {
		c.add(66, "key in "+field, badKey, line("GET", "/keys", field+c.partner), c.partner)
	}
	c.add(66, "a key where it is not taken", noCredential, line("GET", "/hs", "X-Api-Key: "+c.partner))
	c.add(66, "no scope", refusal{403, "forbidden", `ApiKey realm="oncegate", error="insufficient_scope", scope="write"`}, line("GET", "/key-scope", "X-Api-Key: "+c.deprived))
}

// otherRows are the cases 68 and 75: what is no credential here.
func (c *court) otherRows() {
	input := `Signature-Input: sig1=("@method" "@authority" "@path");created=1700000000;keyid="partner-signing-key";alg="ed25519"`
	signature := "Signature: sig1=:" + strings.Repeat("c2lnbmF0dXJlLXNpZ25hdHVyZQ", 3) + "==:"
	for path, want := range map[string]refusal{"/hs": noCredential, "/several": noCredential, "/scoped": noCredential, "/keys": badKey} {
		c.add(68, "a message signature, "+path, want, line("GET", path, input, signature))
		c.add(68, "a message signature over a digest, "+path, want, line("POST", path, input, signature, "Content-Digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", "Content-Length: 0"))
		c.add(68, "Signature alone, "+path, want, line("GET", path, signature))
	}
	c.add(68, "a signature does not mend a token", badToken, line("GET", "/hs", input, signature, "Authorization: Bearer x.y.z"))
	c.add(68, "the older draft's scheme", noCredential, line("GET", "/hs", `Authorization: Signature keyId="partner-signing-key",algorithm="hmac-sha256",signature="c2lnbmF0dXJlLXNpZ25hdHVyZQ=="`))
	for _, kind := range append(kinds, "several", "scoped", "login") {
		path := c.issuer(kind).path
		c.add(75, "OPTIONS, "+kind, noCredential, line("OPTIONS", path))
		c.add(75, "OPTIONS with Origin, "+kind, noCredential, line("OPTIONS", path, "Origin: https://app.test"))
		c.add(75, "OPTIONS without Origin, "+kind, noCredential, line("OPTIONS", path, "Access-Control-Request-Method: GET"))
		c.add(75, "a preflight where no CORS is configured, "+kind, noCredential, line("OPTIONS", path, "Origin: https://app.test", "Access-Control-Request-Method: GET"))
	}
	c.bad(75, "OPTIONS with a bad token", "/hs", "x.y.z")
	c.listed[len(c.listed)-1].text = line("OPTIONS", "/hs", "Authorization: Bearer x.y.z")
}
