// Package config turns the text of gateway.yaml into a checked Document, or into the list of everything that is wrong with it.
//
// It promises: every problem at once, each with file, line, column, dotted path and a suggestion where one is near; no key
// that is misspelt, doubled or ignored; no substituted value that changes the structure of the document; no secret in a
// problem, in the printed document or in a difference; bounded work for any text. It does not promise that what the
// document names outside itself works: files of keys and certificates, hosts and ports are looked at by those who use them.
// It keeps no state. When a variable or a file of a substitution can't be read, that is a problem of the document.
//
// A text passes these steps, each in a file of its own: scan (bounds), tree (YAML with positions), substitute, decode (types
// and tags), check (Validate of each struct), defaults (merge into the routes), cross (names, conflicts).
package config
