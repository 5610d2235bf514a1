package providers

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// wanted says what each type must be.
func (f Field) wanted() string {
	switch f.Type {
	case List:
		return "must be a list of strings, or a string with commas"
	case Params:
		return "must be a map of strings: name=value, or in JSON an object whose values are in quotes"
	case Number:
		return "must be a whole number"
	case Flag:
		return "must be true or false"
	case Duration:
		return "must be a duration in whole seconds that is not negative, such as 300, \"90s\", \"5m\" or \"30d\""
	case Time:
		return "must be a time in quotes as RFC 3339 has it, such as \"2027-06-30T00:00:00Z\""
	case Text:
	}
	return "must be a string: put it in quotes"
}

// Parse checks a value as JSON or a command line gives it, and returns it as the
// field's type has it. The error is a *FieldError that does not repeat the value,
// since it may be a secret. JSON's other types are refused and not turned into
// text: true is no password, and 1.50 no name.
func (f Field) Parse(raw any) (any, error) {
	value := f.parse(raw)
	if value == nil {
		return nil, &FieldError{Field: f.Name, Problem: f.wanted()}
	}
	return value, nil
}

func orNil(value any, ok bool) any {
	if ok {
		return value
	}
	return nil
}

// parse returns nil for what is of another type.
func (f Field) parse(raw any) any {
	text, isText := raw.(string)
	switch f.Type {
	case Text:
		return orNil(text, isText)
	case Time:
		_, err := time.Parse(time.RFC3339, text)
		return orNil(text, isText && (err == nil || text == ""))
	case List:
		return parseList(raw)
	case Params:
		return parseParams(raw)
	case Number:
		n, ok := wholeNumber(raw)
		return orNil(n, ok)
	case Duration:
		n, ok := parseSeconds(raw)
		return orNil(n, ok)
	case Flag:
		flag, isFlag := raw.(bool)
		if isText {
			var err error
			flag, err = strconv.ParseBool(text)
			isFlag = err == nil
		}
		return orNil(flag, isFlag)
	}
	return nil
}

// wholeNumber reads what JSON has as a number, however it was decoded, or digits
// from a command line.
func wholeNumber(raw any) (int, bool) {
	switch n := raw.(type) {
	case int:
		return n, true
	case float64:
		return int(n), n == float64(int(n))
	case json.Number:
		whole, err := strconv.Atoi(n.String())
		return whole, err == nil
	case string:
		whole, err := strconv.Atoi(n)
		return whole, err == nil
	}
	return 0, false
}

const (
	day        = 24 * 60 * 60
	maxSeconds = 100 * 365 * day
)

func parseSeconds(raw any) (seconds int, ok bool) {
	if seconds, ok = wholeNumber(raw); !ok {
		text, _ := raw.(string)
		if days, isDays := strings.CutSuffix(text, "d"); isDays {
			seconds, ok = wholeNumber(days)
			ok = ok && seconds >= 0 && seconds <= maxSeconds/day
			seconds *= day
		} else {
			d, err := time.ParseDuration(text)
			seconds, ok = int(d/time.Second), err == nil && d%time.Second == 0
		}
	}
	return seconds, ok && seconds >= 0 && seconds <= maxSeconds
}

func parseList(raw any) any {
	switch list := raw.(type) {
	case []string:
		return list
	case string:
		words := strings.Split(list, ",")
		for i := range words {
			words[i] = strings.TrimSpace(words[i])
		}
		return slices.DeleteFunc(words, func(s string) bool { return s == "" })
	case []any:
		words := make([]string, len(list))
		for i, word := range list {
			var ok bool
			if words[i], ok = word.(string); !ok {
				return nil
			}
		}
		return words
	}
	return nil
}

// parseParams also takes what a command line makes of one name=value, and of several.
func parseParams(raw any) any {
	params := map[string]string{}
	switch given := raw.(type) {
	case map[string]string:
		return given
	case map[string]any:
		for name, value := range given {
			text, ok := value.(string)
			if !ok {
				return nil
			}
			params[name] = text
		}
		return params
	case string:
		if strings.HasPrefix(strings.TrimLeftFunc(given, unicode.IsSpace), "{") {
			return orNil(params, json.Unmarshal([]byte(given), &params) == nil)
		}
		if given == "" {
			return params
		}
		return parseParams([]any{given})
	case []any:
		for _, pair := range given {
			text, _ := pair.(string)
			name, value, ok := strings.Cut(text, "=")
			if !ok {
				return nil
			}
			params[name] = value
		}
		return params
	}
	return nil
}
