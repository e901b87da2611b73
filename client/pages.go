package client

import "iter"

// paged yields the items of a list, page by page. page gets what leads to a page, "" to the first, and answers its items and what leads
// to the next, "" at the end. After an error there are no more.
func paged[T any](page func(token string) (items []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for token, more := "", true; more; more = token != "" {
			items, next, err := page(token)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			token = next
		}
	}
}
