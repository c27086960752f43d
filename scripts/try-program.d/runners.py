"""Django's test runner, with a quick hash for passwords (it is not the database's time), and with every test in autocommit."""
from django.conf import settings
from django.test import TestCase
from django.test.runner import DiscoverRunner


class Usual(DiscoverRunner):
    """Test cases are transactions that are rolled back."""

    def setup_test_environment(self, **kwargs):
        super().setup_test_environment(**kwargs)
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


class Autocommit(Usual):
    """What a test case would undo by a rollback, it empties, as Django does on databases without transactions."""

    def setup_test_environment(self, **kwargs):
        super().setup_test_environment(**kwargs)
        TestCase._databases_support_transactions = classmethod(lambda cls: False)
