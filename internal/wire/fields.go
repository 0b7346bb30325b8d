package wire

const usualFields = 128

// Fields is the table of header fields of one head, made by one pass over the raw bytes. Names and values alias those
// bytes. It is reused by Parse and must not be copied.
type Fields struct {
	_      noCopy
	raw    []byte
	list   []entry // kept from head to head; not within the struct, so that a head that is kept for long can be small
	joined []byte  // several X-Forwarded-For as one list
}

// entry is one field as offsets: half the size of two slices, and no pointers for the collector.
type entry struct {
	name, nameEnd, value, valueEnd uint32
	role                           role
	dropped                        bool
}

// noCopy has go vet find copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// maxRaw bounds a head so that offsets fit; header limits are far below.
const maxRaw = 1 << 30

// Parse reads field lines up to and including the empty line; raw may be empty when there are no fields at all. It is
// stricter than RFC 9112 section 5 allows recipients to be: each line is token ":" OWS value OWS CRLF, without folding, bare
// CR or LF, control bytes, or space around the name. Fields with '_' in their name are dropped. HeaderTooLarge when there
// are more than max fields, else BadRequest.
func (f *Fields) Parse(raw []byte, max int) error {
	f.raw, f.joined = raw, f.joined[:0]
	if f.list == nil {
		f.list = make([]entry, 0, usualFields)
	}
	f.list = f.list[:0]
	err := f.parse(raw, max)
	if err != nil {
		f.list = f.list[:0]
	}
	return err
}

func (f *Fields) parse(raw []byte, max int) error {
	if len(raw) == 0 {
		return nil
	}
	if len(raw) > maxRaw {
		return HeaderTooLarge
	}
	i := 0
	for {
		if raw[i] == '\r' {
			if i+2 == len(raw) && raw[i+1] == '\n' {
				return nil
			}
			return BadRequest
		}
		if len(f.list) >= max {
			return HeaderTooLarge
		}
		e, next := scanLine(raw, i)
		if next < 0 || next >= len(raw) {
			return BadRequest
		}
		f.list = append(f.list, e)
		i = next
	}
}

// scanLine reads the field line at i and gives the index after it, -1 when it is malformed.
func scanLine(raw []byte, i int) (e entry, next int) {
	start := i
	var seen uint8
	for i < len(raw) && class[raw[i]]&charToken != 0 {
		seen |= class[raw[i]]
		i++
	}
	if i == start || i == len(raw) || raw[i] != ':' {
		return e, -1
	}
	e.name, e.nameEnd = uint32(start), uint32(i)
	e.role = roleOf(raw[start:i])
	e.dropped = seen&charUnderscore != 0
	i++
	for i < len(raw) && isSpace(raw[i]) {
		i++
	}
	end := valueEnd(raw, i)
	if end+1 >= len(raw) || raw[end] != '\r' || raw[end+1] != '\n' {
		return e, -1
	}
	next = end + 2
	for end > i && isSpace(raw[end-1]) {
		end--
	}
	e.value, e.valueEnd = uint32(i), uint32(end)
	return e, next
}

func (f *Fields) nameOf(e *entry) []byte  { return f.raw[e.name:e.nameEnd:e.nameEnd] }
func (f *Fields) valueOf(e *entry) []byte { return f.raw[e.value:e.valueEnd:e.valueEnd] }

// Len is the number of field lines, dropped ones included.
func (f *Fields) Len() int { return len(f.list) }

// At gives field i as sent, in order, repetitions kept. The name is nil for a dropped field.
func (f *Fields) At(i int) (name, value []byte) {
	e := &f.list[i]
	if e.dropped {
		return nil, nil
	}
	return f.nameOf(e), f.valueOf(e)
}

// Get gives the first value of a field: nil when it is absent or dropped, not nil when it is empty. The name is compared
// without regard to case.
func (f *Fields) Get(name string) []byte {
	for i := range f.list {
		if e := &f.list[i]; f.is(e, name) {
			return f.valueOf(e)
		}
	}
	return nil
}

// Count is the number of fields of that name that are not dropped.
func (f *Fields) Count(name string) int {
	n := 0
	for i := range f.list {
		if f.is(&f.list[i], name) {
			n++
		}
	}
	return n
}

func (f *Fields) is(e *entry, name string) bool {
	return int(e.nameEnd-e.name) == len(name) && !e.dropped && EqualFold(f.nameOf(e), name)
}

// Drop hides field i from everybody.
func (f *Fields) Drop(i int) { f.list[i].dropped = true }

// DropNames hides every field whose name the set holds.
func (f *Fields) DropNames(set *Names) {
	if set.Len() == 0 {
		return
	}
	for i := range f.list {
		if e := &f.list[i]; !e.dropped && set.Has(f.nameOf(e)) {
			e.dropped = true
		}
	}
}
