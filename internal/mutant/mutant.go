// Package mutant holds the known defects of keyed-write guards, each behind a build tag of its own, so that the chaos harness
// can prove that it would find them. It promises that a normal build has none: every name is then the constant false, and the
// code behind it is not compiled in.
package mutant
