"""The words of the spec, a file a section or a few. Each word is a field with its type, range, default and meaning."""
