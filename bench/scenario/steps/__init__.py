"""The steps of the bench, a file per subject. Every ``Step`` class with a verb in a module of this package is found by itself."""
