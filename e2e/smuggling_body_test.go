package e2e

import (
	"fmt"
	"strings"
)

const (
	postTo = "POST /x HTTP/1.1\r\nHost: a\r\n"
	getOf  = "GET /x HTTP/1.1\r\nHost: a\r\n"
	coded  = "Transfer-Encoding: chunked\r\n"
)

// lengths: Content-Length alone, in forms that readers disagree on.
func lengths() (all []attack) {
	for _, v := range []string{"", " ", "+3", "-3", "3.0", "3,3", "3, 3", "3;3", "3 3", "0x3", "3e0", "3\t4", "abc", "\"3\"", "3a", "a3", "3\v", "\v3", "3\f", "99999999999999999999", "9223372036854775808", "18446744073709551619", "4294967299999999999999", "٣", "3_0", "3\x00", "\x003", "infinity", "-0", "+0", "0, 3"} {
		all = append(all, attack{name: fmt.Sprintf("length %q", v), in: postTo + "Content-Length: " + v + "\r\n\r\nabc"})
	}
	for name, fields := range map[string]string{
		"twice, equal": "Content-Length: 3\r\nContent-Length: 3\r\n", "twice, other": "Content-Length: 3\r\nContent-Length: 4\r\n",
		"twice, zero first": "Content-Length: 0\r\nContent-Length: 3\r\n", "twice, zero last": "Content-Length: 3\r\nContent-Length: 0\r\n",
		"twice, other case": "Content-Length: 3\r\ncontent-length: 3\r\n", "blank before colon": "Content-Length : 3\r\n",
		"tab before colon": "Content-Length\t: 3\r\n", "folded": "Content-Length:\r\n 3\r\n", "folded by tab": "Content-Length: 3\r\n\t0\r\n",
		"blank before name": " Content-Length: 3\r\n", "NUL in the name": "Content-\x00Length: 3\r\n", "CR in the name": "Content-\rLength: 3\r\n",
		"high byte in the name": "Content-Length\xa0: 3\r\n", "no colon": "Content-Length 3\r\n", "equals sign": "Content-Length= 3\r\n",
	} {
		all = append(all, attack{name: "length " + name, in: postTo + fields + "\r\nabc"})
	}
	small := strings.Repeat("x", 3)
	return append(all,
		attack{"length, leading zeros", postTo + "Content-Length: 003\r\n\r\n" + small, served, small},
		attack{"length, blanks around", postTo + "Content-Length: \t 3 \t\r\n\r\n" + small, served, small},
		attack{"length, no blank", postTo + "Content-Length:3\r\n\r\n" + small, served, small},
		attack{"length, other case", postTo + "cOnTeNt-LeNgTh: 3\r\n\r\n" + small, served, small},
		attack{"length of a hidden request", postTo + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(hidden)) + hidden, served, hidden},
		attack{"length of a GET", getOf + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(hidden)) + hidden, served, hidden},
		attack{"length of a HEAD", strings.Replace(getOf, "GET", "DELETE", 1) + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(hidden)) + hidden, served, hidden},
		attack{"length with an underscore", postTo + "Content_Length: 51\r\n\r\n", served, ""},
		attack{"length with an underscore beside one", postTo + "Content_Length: 0\r\nContent-Length: 3\r\n\r\n" + small, served, small},
		attack{"length nominated", postTo + "Connection: Content-Length\r\nContent-Length: 3\r\n\r\n" + small, served, small},
		attack{"length zero", postTo + "Content-Length: 0\r\n\r\n", served, ""},
		attack{"no length", postTo + "\r\n", served, ""},
	)
}

// codings: Transfer-Encoding alone, in forms that some reader takes for chunked and another does not.
func codings() (all []attack) {
	end := "\r\n0\r\n\r\n"
	for _, v := range []string{"xchunked", "chunkedx", "chunked, identity", "identity, chunked", "gzip, chunked", "chunked, gzip", "identity", "gzip", "deflate", "compress", "cow", "", " ", "chunked,", ",chunked", "chunked, chunked", "chunked;q=1", "chunked; a=b", "\"chunked\"", "'chunked'", "chunked\x00", "\x00chunked", "\vchunked", "chunked\v", "\fchunked", "chunk", "chun ked", "chunked\xa0", "\xefchunked", "chunКed", "x: chunked", "chunked identity", "trailers", "(chunked)", "chunked\b", "chunked\x7f"} {
		all = append(all, attack{name: fmt.Sprintf("coding %q", v), in: postTo + "Transfer-Encoding: " + v + "\r\n" + end})
	}
	for name, fields := range map[string]string{
		"twice": coded + coded, "twice, identity first": "Transfer-Encoding: identity\r\n" + coded, "twice, identity last": coded + "Transfer-Encoding: identity\r\n",
		"twice, other last": coded + "Transfer-encoding: cow\r\n", "blank before colon": "Transfer-Encoding : chunked\r\n", "tab before colon": "Transfer-Encoding\t: chunked\r\n",
		"blank before name": " Transfer-Encoding: chunked\r\n", "folded": "Transfer-Encoding:\r\n chunked\r\n", "folded by tab": "Transfer-Encoding:\r\n\tchunked\r\n",
		"in a fold": "X: y\r\n Transfer-Encoding: chunked\r\n", "behind a bare LF": "X: y\nTransfer-Encoding: chunked\r\n", "behind a bare CR": "X: y\rTransfer-Encoding: chunked\r\n",
		"bare LF": "Transfer-Encoding: chunked\n", "bare CR": "Transfer-Encoding: chunked\r", "NUL in the name": "Transfer\x00-Encoding: chunked\r\n",
		"blank in the name": "Transfer Encoding: chunked\r\n", "high byte in the name": "Transfer-Encoding\xff: chunked\r\n", "no colon": "Transfer-Encoding chunked\r\n",
		"quoted name": "\"Transfer-Encoding\": chunked\r\n", "colon first": ": chunked\r\nTransfer-Encoding: chunked\r\n",
	} {
		all = append(all, attack{name: "coding " + name, in: postTo + fields + end})
	}
	return append(all,
		attack{"coding in capitals", postTo + "TRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n", served, "0\r\n\r\n"},
		attack{"coding, blanks around", postTo + "Transfer-Encoding:\t chunked \t\r\n\r\n0\r\n\r\n", served, "0\r\n\r\n"},
		attack{"coding with an underscore", postTo + "Transfer_Encoding: chunked\r\n\r\n", served, ""},
		attack{"coding nominated", postTo + "Connection: Transfer-Encoding\r\n" + coded + "\r\n0\r\n\r\n", served, "0\r\n\r\n"},
		attack{"coding of a GET", getOf + coded + "\r\n3\r\nabc\r\n0\r\n\r\n", served, "3\r\nabc\r\n0\r\n\r\n"},
		attack{"TE is no coding", postTo + "TE: chunked\r\n\r\n", served, ""},
	)
}

// combined: a length and a coding (CL.TE, TE.CL, TE.TE, CL.0): each row ends with what one of two readers would take for a request.
func combined() (all []attack) {
	for name, te := range map[string]string{
		"plain": coded, "capitals": "TRANSFER-ENCODING: CHUNKED\r\n", "identity": "Transfer-Encoding: identity\r\n", "unknown": "Transfer-Encoding: xchunked\r\n",
		"list": "Transfer-Encoding: gzip, chunked\r\n", "empty": "Transfer-Encoding:\r\n", "twice": coded + coded, "other last": coded + "Transfer-Encoding: x\r\n",
		"blank before colon": "Transfer-Encoding : chunked\r\n", "folded": "Transfer-Encoding:\r\n chunked\r\n", "vertical tab": "Transfer-Encoding: \vchunked\r\n",
		"bare LF": "X: y\nTransfer-Encoding: chunked\r\n",
	} {
		all = append(all,
			attack{name: "CL.TE " + name, in: postTo + fmt.Sprintf("Content-Length: %d\r\n", len("0\r\n\r\n"+hidden)) + te + "\r\n0\r\n\r\n" + hidden},
			attack{name: "TE.CL " + name, in: postTo + te + "Content-Length: 4\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)},
			attack{name: "TE.0 " + name, in: postTo + te + "Content-Length: 0\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)})
	}
	return append(all,
		attack{name: "CL.0 by a folded line", in: postTo + "X: y\r\n Content-Length: 5\r\n\r\n" + hidden},
		attack{name: "length and coding of a GET", in: getOf + "Content-Length: 5\r\n" + coded + "\r\n0\r\n\r\n"},
		attack{name: "length, coding nominated", in: postTo + "Connection: Transfer-Encoding\r\nContent-Length: 5\r\n" + coded + "\r\n0\r\n\r\n"},
		attack{name: "coding, length nominated", in: postTo + "Connection: Content-Length\r\nContent-Length: 5\r\n" + coded + "\r\n0\r\n\r\n"},
		attack{"coding with an underscore, length", postTo + "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", served, "0\r\n\r\n"},
	)
}

// chunkBodies: bodies whose framing readers disagree on.
func chunkBodies() (all []attack) {
	for name, body := range map[string]string{
		"LF behind the size": "3\nabc\r\n0\r\n\r\n", "CR behind the size": "3\rabc\r\n0\r\n\r\n", "LF behind the data": "3\r\nabc\n0\r\n\r\n", "nothing behind the data": "3\r\nabc0\r\n\r\n",
		"two bytes behind the data": "3\r\nabcXX0\r\n\r\n", "data too long": "3\r\nabcd\r\n0\r\n\r\n", "0x": "0x3\r\nabc\r\n0\r\n\r\n", "plus": "+3\r\nabc\r\n0\r\n\r\n", "minus": "-3\r\nabc\r\n0\r\n\r\n",
		"blank before the size": " 3\r\nabc\r\n0\r\n\r\n", "blank behind the size": "3 \r\nabc\r\n0\r\n\r\n", "tab behind the size": "3\t\r\nabc\r\n0\r\n\r\n", "no size": "\r\nabc\r\n0\r\n\r\n", "not hexadecimal": "g\r\nabc\r\n0\r\n\r\n",
		"seventeen digits": "10000000000000003\r\nabc\r\n0\r\n\r\n", "size overflows to 3": "100000000000000000003\r\nabc\r\n0\r\n\r\n", "all bits": "ffffffffffffffff\r\nabc\r\n0\r\n\r\n", "highest bit": "8000000000000003\r\nabc\r\n0\r\n\r\n",
		"underscore": "0_3\r\nabc\r\n0\r\n\r\n", "decimal point": "3.0\r\nabc\r\n0\r\n\r\n", "NUL in the size": "3\x00\r\nabc\r\n0\r\n\r\n", "comma": "3,3\r\nabc\r\n0\r\n\r\n", "quoted": "\"3\"\r\nabc\r\n0\r\n\r\n",
		"LF in an extension": "3;a\nb\r\nabc\r\n0\r\n\r\n", "LF ends an extension": "3;a\nabc\r\n0\r\n\r\n" + hidden, "CR in an extension": "3;a\rb\r\nabc\r\n0\r\n\r\n", "NUL in an extension": "3;a\x00\r\nabc\r\n0\r\n\r\n",
		"LF in a quoted extension": "3;a=\"\n\"\r\nabc\r\n0\r\n\r\n", "extension of 20 KiB": "3;" + strings.Repeat("a", 20<<10) + "\r\nabc\r\n0\r\n\r\n",
		"last chunk by LF": "3\r\nabc\r\n0\n\r\n", "last line by LF": "3\r\nabc\r\n0\r\n\n" + hidden, "last chunk x": "0x0\r\n\r\n", "last line CR": "0\r\n\rX" + hidden,
		"request in place of the last line": "3\r\nabc\r\n0\r\n" + "GET /smuggled HTTP/1.1\r\nX: y\r\n\r\n",
	} {
		all = append(all, attack{name: "chunks: " + name, in: postTo + coded + "\r\n" + body, want: brokenOff})
	}
	for name, trailer := range map[string]string{
		"Content-Length": "Content-Length: 50\r\n", "Transfer-Encoding": coded, "Host": "Host: evil\r\n", "Authorization": "Authorization: Bearer x\r\n", "folded": "A: b\r\n c\r\n", "bare LF": "A: b\n",
		"blank before colon": "A : b\r\n", "no colon": "GET /smuggled HTTP/1.1\r\n", "NUL": "A: \x00\r\n", "blank first": " A: b\r\n", "of 100 KiB": "A: " + strings.Repeat("a", 100<<10) + "\r\n",
	} {
		all = append(all, attack{name: "trailer " + name, in: postTo + coded + "\r\n3\r\nabc\r\n0\r\n" + trailer + "\r\n", want: brokenOff})
	}
	whole := func(n int, data string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", n, data) }
	return append(all,
		attack{"chunks: capital digits", postTo + coded + "\r\n00A\r\n0123456789\r\n000\r\n\r\n", served, whole(10, "0123456789")},
		attack{"chunks: an extension", postTo + coded + "\r\n3;a=b\r\nabc\r\n0;c\r\n\r\n", served, whole(3, "abc")},
		attack{"chunks: a hidden request", postTo + coded + "\r\n" + whole(len(hidden), hidden), served, whole(len(hidden), hidden)},
		attack{"chunks: what looks like the end", postTo + coded + "\r\n" + whole(6, "\r\n0\r\nX"), served, whole(6, "\r\n0\r\nX")},
	)
}
