package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
)

// setText fills a scalar from its text. The error is a problem's message.
func setText(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(text == "true")
		return nil
	case reflect.Int, reflect.Int64:
		n, err := wholeNumber(text)
		if err == nil {
			v.SetInt(n)
		}
		return err
	}
	return fmt.Errorf("the document can't hold a %s", v.Type())
}

// wholeNumber takes decimal digits with an optional minus: 0x10, 1_000 and 1e3 mean different numbers to different readers.
func wholeNumber(text string) (int64, error) {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" || len(digits) > 1 && digits[0] == '0' {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > 1<<53 || n < -1<<53 {
		return 0, fmt.Errorf("%q is too large", text)
	}
	return n, nil
}

// bounded checks min and max.
func bounded(v reflect.Value, f *field) error {
	if f.min == "" && f.max == "" {
		return nil
	}
	if f.min != "" && less(v, bound(v.Type(), f.min)) {
		return fmt.Errorf("must be at least %s", f.min)
	}
	if f.max != "" && less(bound(v.Type(), f.max), v) {
		return fmt.Errorf("must be at most %s", f.max)
	}
	return nil
}

func bound(t reflect.Type, text string) reflect.Value {
	v := reflect.New(t).Elem()
	if err := setText(v, text); err != nil {
		panic("config: bound of a field: " + err.Error())
	}
	return v
}

func less(a, b reflect.Value) bool {
	if rate, ok := a.Interface().(units.Rate); ok {
		return rate.PerSecond() < b.Interface().(units.Rate).PerSecond()
	}
	if a.CanFloat() {
		return a.Float() < b.Float()
	}
	return a.Int() < b.Int()
}

// errWord is a word that is none of an enum's.
var errWord = errors.New("unknown value")

// checkText is what tags demand of one scalar.
func checkText(v reflect.Value, f *field) error {
	if v.Kind() == reflect.String {
		text := v.String()
		if text == "" && f.nonempty {
			return errors.New("must not be empty")
		}
		if len(f.enum) > 0 && !slices.Contains(f.enum, text) {
			return errWord
		}
		return nil
	}
	return bounded(v, f)
}
