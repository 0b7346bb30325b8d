package wire

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func parsed(t *testing.T, raw string) *Fields {
	t.Helper()
	f := &Fields{}
	if err := f.Parse([]byte(raw), 1000); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return f
}

func TestFieldsTable(t *testing.T) {
	f := parsed(t, "Host: a\r\nx-a:1\r\nX-B: \t two words\t \r\nX-A:2\r\nEmpty:\r\nX-Obs: \xc3\xa9\t.\r\nX_A: 3\r\n\r\n")
	var got []string
	for i := range f.Len() {
		name, value := f.At(i)
		got = append(got, fmt.Sprintf("%s=%s", name, value))
	}
	want := "Host=a|x-a=1|X-B=two words|X-A=2|Empty=|X-Obs=\xc3\xa9\t.|="
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("got  %q\nwant %q", s, want)
	}
	if name, value := f.At(6); name != nil || value != nil {
		t.Error("a field with '_' is not dropped")
	}
	if v := f.Get("X-a"); string(v) != "1" {
		t.Errorf("first X-A: %q", v)
	}
	if v := f.Get("EMPTY"); v == nil || len(v) != 0 {
		t.Errorf("an empty field: %v", v)
	}
	if f.Get("absent") != nil || f.Get("X_A") != nil || f.Get("") != nil {
		t.Error("absent or dropped fields are seen")
	}
	if f.Count("x-A") != 2 || f.Count("X-B") != 1 || f.Count("nope") != 0 {
		t.Error("counts")
	}
}

func TestFieldsDrop(t *testing.T) {
	f := parsed(t, "A: 1\r\nB: 2\r\nx-user-id: 3\r\nX-USER-ID: 4\r\nC: 5\r\n\r\n")
	f.Drop(0)
	f.DropNames(nil)
	f.DropNames(NewNames("X_User_Id", "c"))
	if f.Len() != 5 || f.Count("A") != 0 || f.Get("X-User-Id") != nil || f.Get("C") != nil || string(f.Get("B")) != "2" {
		t.Error("dropped fields are still seen, or others are gone")
	}
	if err := f.Parse([]byte("A: again\r\n\r\n"), 1); err != nil || f.Len() != 1 || string(f.Get("a")) != "again" {
		t.Error("Parse does not start anew")
	}
}

func TestFieldsRefuses(t *testing.T) {
	for name, raw := range map[string]string{
		"no empty line": "A: 1\r\n", "half an empty line": "A: 1\r\n\r", "only half": "\r", "bare LF ends": "A: 1\r\n\n",
		"after the empty line": "A: 1\r\n\r\nB: 2\r\n\r\n", "garbage after": "\r\nx", "LF line": "A: 1\nB: 2\r\n\r\n",
		"all LF": "A: 1\nB: 2\n\n", "bare CR": "A: 1\r2\r\n\r\n", "CR CR LF": "A: 1\r\r\n\r\n", "CR at end": "A: 1\r",
		"NUL": "A: 1\x002\r\n\r\n", "control": "A: \x01\r\n\r\n", "vertical tab": "A: \vchunked\r\n\r\n", "form feed": "A: x\fy\r\n\r\n",
		"DEL": "A: long enough for a word\x7f\r\n\r\n", "fold": "A: 1\r\n 2\r\n\r\n", "fold by tab": "A: 1\r\n\t2\r\n\r\n",
		"empty fold": "A: 1\r\n \r\n\r\n", "leading space": " A: 1\r\n\r\n", "space before colon": "A : 1\r\n\r\n",
		"tab before colon": "A\t: 1\r\n\r\n", "space inside name": "X Y: 1\r\n\r\n", "no name": ": 1\r\n\r\n", "no colon": "A\r\n\r\n",
		"control in name": "A\x01: 1\r\n\r\n", "high byte in name": "\xc3: 1\r\n\r\n", "paren in name": "A(: 1\r\n\r\n",
		"quote in name": "\"A\": 1\r\n\r\n", "name at end": "A", "colon at end": "A:", "space at end": "A: ", "LF only": "\n",
	} {
		f := &Fields{}
		if err := f.Parse([]byte(raw), 100); err != BadRequest || f.Len() != 0 {
			t.Errorf("%s: %q gives %v, %d fields", name, raw, err, f.Len())
		}
	}
}

// A forbidden byte is found wherever it stands in a word of eight, and no legal one is taken for it.
func TestFieldsJudgesEveryByteAtEveryPlace(t *testing.T) {
	for c := range 256 {
		legal := c == '\t' || c >= 0x20 && c != 0x7f
		for at := range 20 {
			value := []byte(strings.Repeat("\xffx\x80", 7))
			value[at] = byte(c)
			raw := append(append([]byte("A:x"), value...), "x\r\n\r\n"...)
			if err := new(Fields).Parse(raw, 1); (err == nil) != legal {
				t.Fatalf("byte %#x at %d: %v", c, at, err)
			}
		}
	}
}

func TestFieldsCountIsBounded(t *testing.T) {
	block := func(n int) []byte { return []byte(strings.Repeat("A: 1\r\n", n) + "\r\n") }
	f := &Fields{}
	for _, c := range []struct{ fields, max int }{{0, 0}, {100, 100}, {128, 128}, {500, 500}} {
		if err := f.Parse(block(c.fields), c.max); err != nil || f.Len() != c.fields {
			t.Errorf("%d of %d: %v", c.fields, c.max, err)
		}
		if err := f.Parse(block(c.fields+1), c.max); err != HeaderTooLarge || f.Len() != 0 {
			t.Errorf("%d of %d: %v", c.fields+1, c.max, err)
		}
	}
	if name, value := parsed(t, string(block(300))).At(299); string(name) != "A" || string(value) != "1" {
		t.Error("fields beyond the inline ones")
	}
	if err := f.Parse(nil, 0); err != nil || f.Len() != 0 {
		t.Error("no fields at all:", err)
	}
}

// A field counts once, and its line can be rebuilt: nothing is lost, merged or read into a neighbour.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{"A: 1\r\nB:2 \r\n\r\n", "A: 1\r\n 2\r\n\r\n", "X_Y:\t\x80\r\n\r\n", "A:\n\r\n", "a:\rb\r\n\r\n", "\r\n"} {
		f.Add([]byte(seed))
	}
	table := &Fields{}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := table.Parse(raw, 50); err != nil {
			return
		}
		if len(raw) == 0 {
			return
		}
		lines := bytes.Split(bytes.TrimSuffix(raw, []byte("\r\n")), []byte("\r\n"))
		lines = lines[:len(lines)-1]
		if len(lines) != table.Len() {
			t.Fatalf("%d lines, %d fields in %q", len(lines), table.Len(), raw)
		}
		for i, line := range lines {
			name, value, _ := bytes.Cut(line, []byte(":"))
			value = bytes.Trim(value, " \t")
			gotName, got := table.At(i)
			if bytes.Contains(name, []byte("_")) {
				if gotName != nil {
					t.Fatalf("%q is not dropped", name)
				}
				continue
			}
			if !bytes.Equal(gotName, name) || !bytes.Equal(got, value) || bytes.ContainsAny(line, "\r\n\x00\v") {
				t.Fatalf("%q read as %q, %q", line, gotName, got)
			}
			if table.Get(string(name)) == nil || table.Count(string(name)) == 0 {
				t.Fatalf("%q is not found", name)
			}
		}
	})
}
