package units

// FromScalar is implemented by pointers to structs of the document that may also be written as one word: auth: none,
// to: orders, targets: [http://...]. The error's text becomes the problem's message.
//
// The tags of a document's struct fields are its single description; decoding, defaults, checks, the JSON Schema and the
// reference are all made from them:
//
//	yaml:"name"      the key
//	default:"10s"    text of the default, decoded like a value; lists as "[A, B]"
//	required:"true"  the key must be there
//	enum:"a b c"     the words a string may be
//	min:"1" max:"9"  bounds of a number, duration, size or share, as text of its type
//	nonempty:"true"  a list, map or string that is given must hold something
//	doc:"..."        one sentence for the schema and the reference
//	later:"..."      known to the contract, not built yet: giving it another value than its default is a problem
type FromScalar interface {
	FromScalar(text string) error
}

// FromList is implemented by pointers to structs of the document that may also be written as a list: it is the value of that
// key. A value of the list is then placed where it stands.
type FromList interface {
	ListKey() string
}
