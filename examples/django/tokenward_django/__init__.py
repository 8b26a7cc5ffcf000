"""Authentication of Django REST framework requests by tokenward."""
